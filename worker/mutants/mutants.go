package main

var (
	life    = []string{"-parallel", "8", "-skip", "BadDay", "./worker"}
	adapter = []string{"./worker/natsio"}
	known   = []string{"./dedupe"}
	vendor  = []string{"./upstream"}
	shell   = []string{"./cmd/orderworker", "-run", "Redis|Settings|NATS|Ready|Reconcile|Clock|Status"}
)

// mutants lists the rules, in the order of an order's life.
var mutants = []mutant{
	{"only as much is pulled as there are free slots", "worker/natsio/pull.go",
		`n, expires, room)`, `n+10, expires, room)`, adapter},
	{"a broken payload is not an order", "worker/order.go",
		`	return o, errors.Join(errs...)`, `	return o, nil`, life},
	{"the request is acknowledged only after its dead letter is stored", "worker/conclude.go",
		`	if h.keep("bury", bury) != nil {
		return unsettled
	}`, `	_ = h.d.Msg.Ack()
	if h.keep("bury", bury) != nil {
		return unsettled
	}`, life},
	{"a number is not taken with another fingerprint (Redis)", "dedupe/redis.go",
		`if r.fingerprint ~= ARGV[1] then return reply('other') end`, ``, known},
	{"a number is not taken with another fingerprint (journal)", "dedupe/claim.go",
		`	if r.Fingerprint != c.Fingerprint {
		c.Verdict, c.Standing`, `	if r.Fingerprint == "" {
		c.Verdict, c.Standing`, known},
	{"a leased order is not given to another owner", "dedupe/redis.go",
		`	if was ~= '' then return reply('busy') end`, ``, known},
	{"a stale owner cannot park an order", "dedupe/redis.go",
		`if r.state ~= '' and r.owner ~= ARGV[2] and not (r.owner == '' and r.parked == ARGV[2]) then return 0 end`, ``, known},
	{"a stale owner cannot renew its lease", "dedupe/redis.go",
		`elseif r.owner ~= ARGV[2] then
	return 0`, `elseif false then
	return 0`, known},
	{"of two that conflict, a late claim does not take the number from the earlier", "dedupe/claim.go",
		`	case r.State == "" && (c.Seq >= e.Seq ||`, `	case r.State == "" && (true ||`, known},
	{"notes of an attempt are more than a claim", "dedupe/claim.go",
		` || e.Phase != PhaseClaimed && e.Phase != PhaseReady || e.Rev != 0 || e.Attempt != 0)`, `)`, known},
	{"an order past expiresAt is not sent", "worker/place.go",
		`	return at != nil && now.After(*at)`, `	return at != nil && false`, life},
	{"a zero expiresAt is past", "worker/place.go",
		`	return at != nil && now.After(*at)`, `	return at != nil && !at.IsZero() && now.After(*at)`, life},
	{"a misspelt field is invalid", "worker/order.go",
		`	errs = append(errs, misspelt(fields)...)`, ``, life},
	{"a misspelt field is invalid beside the right one", "worker/order.go",
		`		if fields[field] == nil || slices.Contains(names, field) {`, `		if fields[field] == nil || slices.Contains(names, field) || len(fields) > len(names) {`, life},
	{"no send without an intent", "worker/place.go",
		`	if err := h.keep("intent", func() error { return h.claims.Intent(h.hard, h.claim, sendBy) }); err != nil {
		return handBack, err
	}`, ``, life},
	{"the intent is a compare-and-set", "dedupe/jetstream.go",
		`		jetstream.WithExpectLastSequencePerSubject(rev),`, `		jetstream.WithMsgID(""),`, known},
	{"who lost the intent does not send", "worker/place.go",
		`	if err := h.keep("intent", func() error { return h.claims.Intent(h.hard, h.claim, sendBy) }); err != nil {
		return handBack, err
	}`, `	_ = h.keep("intent", func() error { return h.claims.Intent(h.hard, h.claim, sendBy) })`, life},
	{"no byte leaves after sendBy", "upstream/attempt.go",
		`func (a *attempt) late() bool { return time.Now().Round(0).After(a.sendBy) }`, `func (a *attempt) late() bool { return false }`, vendor},
	{"a request is written once", "upstream/call.go",
		`	if _, err = line.Write(to.request(body)); err == nil {`, `	_, _ = line.Write(to.request(body))
	if _, err = line.Write(to.request(body)); err == nil {`, vendor},
	{"a connection that the vendor closed is not used", "upstream/conns.go",
		` && quiet(kept.guarded.Conn)`, ``, vendor},
	{"an answer that nobody asked for is not the next one's", "upstream/conns.go",
		` && kept.drained()`, ``, vendor},
	{"a connection with half an answer on it is not used", "upstream/call.go",
		`	if stop() && more {`, `	if stop() || more {`, vendor},
	{"every request is signed anew", "upstream/request.go",
		`return 10_000 + rand`, `return 10_000 + 0*rand`, vendor},
	{"unclassified means ambiguous", "upstream/error.go",
		`	return Ambiguous
}`, `	return Refused
}`, life},
	{"HTTP 5xx is ambiguous", "upstream/answer.go",
		`	refusable := a.status == http.StatusOK || a.status >= 400 && a.status < 500`, `	refusable := a.status == http.StatusOK || a.status >= 400 && a.status < 600`, vendor},
	{"bytes that were written make it ambiguous", "upstream/call.go",
		`	return a, at.wrote > 0, err`, `	return a, err == nil, err`, vendor},
	{"code 200 without an orderNumber may have been bought", "upstream/client.go",
		`&Error{Class: Ambiguous, Code: p.Code,`, `&Error{Class: Refused, Code: p.Code,`, vendor},
	{"what was bought without a number is never sent again", "dedupe/store.go",
		`	case c.Doubt.Bought:
		return misuse("disprove"`, `	case false:
		return misuse("disprove"`, known},
	{"no failed while an earlier attempt is open", "worker/decide.go",
		`	case class == upstream.Refused && open && !blameless:
		return verdict{step: settle, attempts: attempts + 1}`, `	case class == upstream.Refused && open && attempts+1 >= r.MaxAttempts:
		return verdict{step: fail, reason: AttemptsExhausted, attempts: attempts + 1}`, life},
	{"throttled is not an attempt", "worker/decide.go",
		`	case class != upstream.Refused, blameless:
		return verdict{step: wait, attempts: attempts}`, `	case class != upstream.Refused, blameless:
		return verdict{step: wait, attempts: attempts + 1}`, life},
	{"takeover never resends blindly", "worker/handle.go",
		`		return h.resolve()`, `		return h.place()`, life},
	{"a lookup that fails proves nothing", "worker/reconcile.go",
		`missing: err == nil && found.Missing(q.outTradeNo)`, `missing: err != nil || found.Missing(q.outTradeNo)`, life},
	{"a full page of a lookup proves nothing about who is not on it", "upstream/lookup.go",
		`	return rows, len(rows) < lookupRows && counted`, `	return rows, counted`, vendor},
	{"one \"not found\" is not enough", "worker/reconcile.go",
		`	case a.missing && d.Missing && `, `	case a.missing && `, life},
	{"\"not found\" counts only after RECONCILE_DELAY", "worker/reconcile.go",
		` && asked.After(h.rules.provable(d.SendBy))`, ` && !asked.IsZero()`, life},
	{"failed only over one's own intent", "dedupe/store.go",
		`	write := s.put
	if succeeded {
		write = s.force
	}`, `	write := s.force`, known},
	{"a final never changes (journal)", "dedupe/write.go",
		`		if old.State == StateFinal {`, `		if false {`, known},
	{"a final never changes (Redis)", "dedupe/redis.go",
		`if redis.pcall('HGET', KEYS[1], 'state') == 'final' then return 0 end
redis.call('DEL'`, `redis.call('DEL'`, known},
	{"an open intent has no TTL", "dedupe/jetstream.go",
		`	if r.State == StateFinal {
		opts`, `	if r.State != "" {
		opts`, known},
	{"no ack before the event is stored", "worker/conclude.go",
		`	if err := h.publish(e); err != nil {
		return unsettled, err
	}
	if err := h.keep("remember"`, `	_ = h.d.Msg.Ack()
	if err := h.publish(e); err != nil {
		return unsettled, err
	}
	if err := h.keep("remember"`, life},
	{"an event has the same id each time", "worker/result.go",
		`ID:      r.OutTradeNo + "." + string(r.Status),`, `ID:      r.OutTradeNo + "." + string(r.Status) + time.Now().String(),`, life},
	{"an order in progress gives signs of life", "worker/beat.go",
		`_ = o.delivery.Msg.InProgress()`, `_ = o.delivery`, life},
	{"the consumer has no delivery limit", "worker/natsio/jetstream.go",
		`			MaxDeliver:    -1, `, `			MaxDeliver:    5, `, life},
	{"the consumer has no BackOff", "worker/natsio/jetstream.go",
		`			MaxAckPending: -1, `, `			BackOff: []time.Duration{time.Second, time.Minute}, MaxAckPending: -1, `, life},
	{"waiting orders do not count against a limit", "worker/natsio/jetstream.go",
		`			MaxAckPending: -1, `, `			MaxAckPending: 2, `, life},
	{"a lossy stream is refused", "worker/natsio/jetstream.go",
		`	if len(faults) > 0 && !j.names.AllowLossy {`, `	if false {`, adapter},
	{"go-redis sends nothing twice", "cmd/orderworker/redis.go",
		`	case *redis.Options:
		o.ClientName, o.MaxRetries, o.ContextTimeoutEnabled = "orderworker", -1, true`, `	case *redis.Options:
		o.ClientName, o.MaxRetries, o.ContextTimeoutEnabled = "orderworker", 0, true`, shell},
	{"Redis must not evict", "cmd/orderworker/redis_audit.go",
		`if policy != "" && policy != "noeviction" {`, `if false {`, shell},
	{"every master of a Cluster is asked", "cmd/orderworker/redis_audit.go",
		`		err = c.ForEachMaster(ctx, ask)`, `		err = c.ForEachShard(ctx, func(ctx context.Context, one *redis.Client) error {
			if len(a.nodes) > 0 {
				return nil
			}
			return ask(ctx, one)
		})`, shell},
	{"Redis is looked at while running", "cmd/orderworker/run.go",
		`	watching.Go(func() { memory.watch(`, `	_ = (func() { memory.watch(`, shell},
	{"what is wrong with Redis shows at /readyz", "cmd/orderworker/redis_audit.go",
		`	if fault := a.fault.Load(); fault != nil && *fault != "" {`, `	if fault := a.fault.Load(); false {`, shell},
	{"Redis' clock is compared", "cmd/orderworker/redis_audit.go",
		`fault := node.clock.Compare(before, there, after); fault != ""`, `fault := node.clock.Compare(there, there, there); fault != "" || after.Before(before)`, shell},
	{"keys that Redis evicted are told of", "cmd/orderworker/redis_audit.go",
		`	if node.evicted >= 0 && evicted > node.evicted {`, `	if false {`, shell},
	{"a short RECONCILE_DELAY is warned of", "cmd/orderworker/run.go",
		`	s.warn(log)
`, ``, shell},
	{"clocks are at most 5 s apart", "worker/clock.go",
		`skew.Abs() <= MaxSkew`, `skew.Abs() <= 2*MaxSkew`, life},
	{"a process is not ready while pulls fail", "worker/natsio/jetstream.go",
		`	j.trouble[lastPull].Store(&err)
`, ``, adapter},
	{"a process is not ready while a stream has a fault", "worker/natsio/jetstream.go",
		`	j.trouble[lastAudit].Store(&err)
`, ``, adapter},
	{"what the streams say shows at /readyz", "cmd/orderworker/run.go",
		`	streamGate.open(stream.Ready)`, `	streamGate.open(func(context.Context) error { _ = stream; return nil })`, shell},
	{"what a store refuses for good holds no slot", "worker/outcome.go",
		`	return errors.Is(err, dedupe.ErrBroken) || errors.Is(err, ErrRefused)`, `	return errors.Is(err, dedupe.ErrBroken)`, life},
	{"what a store refuses for good is looked at each minute", "worker/outcome.go",
		`		return again(StepInterrupted, brokenDelay, err)
	}
	return again(s, 0, err)`, `		return again(StepInterrupted, 0, err)
	}
	return again(s, 0, err)`, life},
	{"what a store refuses for good is an error line", "worker/observe.go",
		`	case unhealable(o.err):
		return zerolog.ErrorLevel`, `	case unhealable(o.err):
		return zerolog.WarnLevel`, life},
	{"the age of the oldest order grows between two looks", "worker/metrics.go",
		`max(0, time.Since(oldest).Seconds())`, `max(0, oldest.Sub(oldest).Seconds())`, life},
	{"why the vendor did not sell is kept", "worker/place.go",
		`[]upstream.Class{upstream.Refused, upstream.Account, upstream.Throttled}`, `[]upstream.Class{upstream.Refused}`, shell},
	{"another account's attempt is shown as such", "cmd/orderworker/status.go",
		`return account != "" && theirs != "" && theirs != account }`, `return false && theirs != account }`, shell},
	{"slots are further apart than 1 s / rate", "upstream/quota.go",
		`		hold:  time.Second + jitter,`, `		hold:  time.Second,`, vendor},
}
