package main

var (
	life    = []string{"-parallel", "8", "-skip", "BadDay", "./worker"}
	adapter = []string{"./worker/natsio"}
	known   = []string{"./dedupe"}
	vendor  = []string{"./upstream"}
	shell   = []string{"./cmd/orderworker", "-run", "Redis|Settings|NATS"}
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
		`c.Seq >= e.Seq || !mere):`, `c.Seq >= e.Seq):`, known},
	{"an order past expiresAt is not sent", "worker/order.go",
		`	return !o.ExpiresAt.IsZero() && now.After(o.ExpiresAt)`, `	return false`, life},
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
	{"Redis must not evict", "cmd/orderworker/redis.go",
		`		case policy != "noeviction":`, `		case policy == "":`, shell},
	{"slots are further apart than 1 s / rate", "upstream/quota.go",
		`		hold:  time.Second + jitter,`, `		hold:  time.Second,`, vendor},
	{"an attempt of another account is not taken over (Redis)", "dedupe/redis.go",
		`if r.account ~= '' and ARGV[5] ~= '' and r.account ~= ARGV[5] then return reply('foreign') end`, ``, known},
	{"an attempt of another account is not taken over (journal)", "dedupe/claim.go",
		`if c.isForeign(r.Account) {`, `if false {`, known},
	{"an order that is another account's is not adopted while its attempt is open", "dedupe/foreign.go",
		`case r.State == StateIntent && c.isForeign(r.Account):`, `case false:`, known},
	{"keys carry the deployment", "dedupe/redis.go",
		`SubjectToken(deployment) + ":order:"`, `"order:"`, known},
	{"an order stays its first request's", "dedupe/claim.go",
		`Seq:         c.First,`, `Seq:         c.Seq,`, known},
	{"what exists at the vendor is not sent again", "dedupe/store.go",
		`	case c.Doubt.Exists:
		return misuse("intent"`, `	case false:
		return misuse("intent"`, known},
	{"what exists at the vendor is not disproved", "dedupe/store.go",
		`	case c.Doubt.Exists:
		return misuse("disprove"`, `	case false:
		return misuse("disprove"`, known},
	{"that it exists at the vendor is journalled", "dedupe/store.go",
		` || d.Exists && !c.exists`, ``, known},
	{"a lapsed claim is in doubt where the journal was lost", "dedupe/unjournalled.go",
		`case lost:`, `case lost && false:`, known},
	{"a final event is looked for before a doubt", "dedupe/unjournalled.go",
		`	if found, err := s.published(ctx, c); found || err != nil {
		return err
	}
`, ``, known},
	{"a first delivery that is too old is not new", "dedupe/claim.go",
		` && !s.outlived(c.Order, time.Now()):`, `:`, known},
	{"what was never sent is parked as that", "dedupe/store.go",
		`if unsent {`, `if unsent && false {`, known},
	{"the age of a request counts at each write over nothing", "dedupe/write.go",
		`	if s.forgotten(c) {
		s.stepAside(ctx, c, errForgotten)
		return errForgotten
	}
	if c.revision`, `	if c.revision`, known},
	{"a Redis key of another type is replaced", "dedupe/redis.go",
		`if why then redis.call('DEL', KEYS[1]) end`, ``, known},
	{"a success is written over a record that cannot be read", "dedupe/write.go",
		`if !ok || ctx.Err() != nil {`, `if true || !ok || broken.rev == 0 {`, known},
	{"a reply for another owner is none", "dedupe/redis.go",
		`if v[1] != owner {`, `if false {`, known},
	{"a reply about another order is none", "dedupe/redis.go",
		`v[replyFields-1] != key {`, `false {`, known},
	{"no intent on a lease that is over", "dedupe/store.go",
		`	case c.overdue():
`, `	case false:
`, known},
	{"no write over nothing on a lease that is over", "dedupe/write.go",
		`if c.revision() == 0 && c.overdue() {`, `if false {`, known},
	{"no failed on a lease that is over", "dedupe/store.go",
		`case !succeeded && c.overdue():`, `case false:`, known},
	{"a lease that ended during the intent grants nothing", "dedupe/store.go",
		`	if c.overdue() { // what`, `	if false { // what`, known},
	{"a lease counts from before it was asked for", "dedupe/claim.go",
		`	c.leased(time.Now(), s.cfg.Lease)
	hold, e, err := s.records.Claim(ctx, c.Order, c.Owner, s.cfg.Lease)
`, `	hold, e, err := s.records.Claim(ctx, c.Order, c.Owner, s.cfg.Lease)
	c.leased(time.Now(), s.cfg.Lease)
`, known},
	{"a loss of Redis is noticed", "dedupe/claim.go",
		`e.Replaced != "" || lost)`, `e.Replaced != "" || lost && false)`, known},
	{"a birth mark that is missing is a loss", "dedupe/redis.go",
		`	born = string.format('%.0f', t[1] * 1000000 + t[2])`, `	born = '0'`, known},
	{"a birth mark is complete only where it is still the same", "dedupe/redis.go",
		`if redis.call('HGET', KEYS[1], 'born') ~= ARGV[1] then return 0 end`, ``, known},
	{"a Cluster has no birth mark to go by", "dedupe/redis.go",
		`	case err != nil:
		return time.Now()`, `	case err != nil:
		return time.Time{}`, known},
	{"a settled order is over by its record", "dedupe/look.go",
		`	if over.IsZero() {`, `	if true {`, known},
	{"the end of an earlier request counts", "dedupe/store.go",
		`	if r.Open && c.Doubt.Over.After(r.Over) {`, `	if false {`, known},
	{"the end of another's request counts", "dedupe/write.go",
		`		if !r.Over.IsZero() && over.After(r.Over) {`, `		if false {`, known},
	{"a leased claim alone rejects nobody", "dedupe/claim.go",
		`	case r.State == "" && mere && e.Owner`, `	case false && mere && e.Owner`, known},
	{"what another process sent is over by its own settings", "worker/rules.go",
		`	if !d.Over.IsZero() {`, `	if false {`, life},
}
