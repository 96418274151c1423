package main

var (
	life    = []string{"-parallel", "8", "-skip", "BadDay", "./worker"}
	adapter = []string{"./worker/natsio"}
	known   = []string{"./dedupe"}
	vendor  = []string{"./upstream"}
	limiter = []string{"./upstream/quota"}
	rounds  = []string{"./upstream", "./worker", "-run", "Round|Lookup|TestSimStays|TestSimFirst|TestSimEach"}
	account = []string{"./upstream/pause", "./worker", "-run", "."}
	told    = []string{"./cmd/orderworker", "-run", "TestDesk(Tells|Of|Invents)"}
	unclear = []string{"./upstream/pause", "-run", "TestUnclear"}
	paused  = []string{"./worker", "-run", "TestSimPause"}
	halted  = []string{"./worker", "-run", "TestSimHalt"}
	halting = []string{"./worker/halt"}
	server  = []string{"./cmd/internal/connect", "-run", "Redis"}
	files   = []string{"./cmd/internal/submit"}
	pages   = []string{"-run", "TestChangesNeed|TestPauseAndResume|TestReplay|TestSession|TestHostile|TestEnded", "./cmd/internal/console"}
	ended   = []string{"./worker", "-run", "TestCrashTable$|TestAnotherResult|TestSuccess"}
	event   = []string{"./dedupe", "-run", "TestStore(Success|Result|Event|Settle|Doubt|Expired|Parked|Foreign|CleanOrder)|TestRecordLifetime|TestJudge|Cache"}
	desk    = []string{"./cmd/orderworker", "-run", "TestDesk(Replay(Is|sSkips|Says)|Pauses[ON])"}
	lists   = []string{"./cmd/orderworker", "-run", "TestDeskLists$"}
	letters = []string{"./cmd/internal/operator"}
	shell   = []string{"./cmd/orderworker", "-run", "Redis|Settings|NATS|Ready|Reconcile|Clock|Status"}
)

// mutants lists the rules, in the order of an order's life.
var mutants = []mutant{
	{"only as much is pulled as there are free slots", "worker/natsio/pull.go",
		`n, expires, room)`, `n+10, expires, room)`, adapter},
	{"a broken payload is not an order", "worker/order.go",
		`	return o, errors.Join(errs...)`, `	return o, nil`, life},
	{"the request is acknowledged only after its dead letter is stored", "worker/finish.go",
		`	text := cut(oneLine(why), 1024)
`, `	text := cut(oneLine(why), 1024)
	_ = t.delivery.Msg.Ack()
`, life},
	{"a number is not taken with another fingerprint (Redis)", "dedupe/redisstore/scripts.go",
		`if r.fingerprint ~= ARGV[1] or r.state`, `if r.state`, known},
	{"a number is not taken with another fingerprint (journal)", "dedupe/judge.go",
		`	case r.State != "" && r.Fingerprint != k.order.Fingerprint:
		return judgement{verdict: Conflict, usedWith: r.Fingerprint}
	case r.State == StateFinal:`, `	case r.State == StateFinal:`, known},
	{"a leased order is not given to another owner", "dedupe/redisstore/scripts.go",
		`(left() > 0 or theirs)`, `theirs`, known},
	{"a stale owner cannot park an order", "dedupe/redisstore/scripts.go",
		`if r.state ~= '' and r.owner ~= ARGV[2] and not (r.owner == '' and r.parked == ARGV[2]) then return 0 end`, ``, known},
	{"a stale owner cannot renew its lease", "dedupe/redisstore/scripts.go",
		`elseif r.owner ~= ARGV[2] then
	return 0`, `elseif false then
	return 0`, known},
	{"of two that conflict, a late claim does not take the number from the earlier", "dedupe/judge.go",
		`case !onlyClaimed || k.order.Seq >= e.Seq:`, `case true || !onlyClaimed:`, known},
	{"notes of an attempt are more than a claim", "dedupe/judge.go",
		`case !onlyClaimed || k.order.Seq >= e.Seq:`, `case k.order.Seq >= e.Seq:`, known},
	{"an order past expiresAt is not sent", "worker/place.go",
		`	return at != nil && now.After(*at)`, `	return at != nil && false`, life},
	{"an order expires with its first request, whoever drives it", "worker/place.go",
		`		return t.claim.Expires`, `		return nil`, life},
	{"the journal knows when the first request expires", "dedupe/claim.go",
		`		Expires:     c.Expires,
`, ``, known},
	{"Redis knows when the first request expires", "dedupe/redisstore/scripts.go",
		`if ARGV[13] ~= '' then`, `if false then`, known},
	{"a duplicate's expiresAt does not count", "dedupe/claim.go",
		`		c.First, c.Expires = seq, expires`, `		c.First = seq`, known},
	{"a zero expiresAt is past", "worker/place.go",
		`	return at != nil && now.After(*at)`, `	return at != nil && !at.IsZero() && now.After(*at)`, life},
	{"a misspelt field is invalid", "worker/order.go",
		`	errs = append(errs, misspelt(fields)...)`, ``, life},
	{"a misspelt field is invalid beside the right one", "worker/order.go",
		`		if fields[field] == nil || slices.Contains(names, field) {`, `		if fields[field] == nil || slices.Contains(names, field) || len(fields) > len(names) {`, life},
	{"nothing is sent while an operator pauses", "worker/place.go",
		`	if err != nil { // storing`, `	if false && err != nil { // storing`, halted},
	{"a frozen process sends nothing after a pause", "worker/place.go",
		`	if until.Before(sendBy) {`, `	if false && until.Before(sendBy) {`, halted},
	{"what was allowed may be written for a second", "worker/halt/watch.go",
		`	return r.asked.Add(keptWithin), nil`, `	return now.Add(keptWithin), nil`, halting},
	{"no intent is written while an operator pauses", "worker/retry.go",
		`		if err := r.halts.Allows(); err != nil {`, `		if err := r.halts.Allows(); false && err != nil {`, halted},
	{"nothing is sent while the bucket cannot be read", "worker/halt/watch.go",
		`	case r == nil || !r.fresh(now):
		return`, `	case r == nil:
		return`, halting},
	{"nothing is sent before the bucket was read", "worker/halt/watch.go",
		`	case r == nil || !r.fresh(now):
		return`, `	case r != nil && !r.fresh(now):
		return`, halting},
	{"an answer of the bucket allows sending for less than a second", "worker/halt/watch.go",
		`	validFor = 800 * time.Millisecond`, `	validFor = 1800 * time.Millisecond`, halting},
	{"an answer of the bucket is as old as its question", "worker/halt/watch.go",
		`	w.err = err
	if err == nil {`, `	w.err = err
	reading.asked = time.Now()
	if err == nil {`, halting},
	{"an answer of the bucket is old after a suspension", "worker/halt/watch.go",
		`	return monotonic < validFor && wall < validFor`, `	return monotonic < validFor`, halting},
	{"what is no operator's word is not taken for one", "worker/halt/state.go",
		`	if s.Paused == nil {`, `	if s.Paused == nil && false {`, halting},
	{"a pause lasts", "worker/halt/state.go",
		`	return s.Paused && (s.Until.IsZero() || now.Before(s.Until))`, `	return s.Paused && now.Before(s.Until)`, halting},
	{"a vendor that gives no clear answer is told of", "upstream/pause/account.go",
		`	a.answers = a.answers.AfterBad(upstream.Brief(err), now)
`, ``, unclear},
	{"lookups that are answered do not hide a vendor that does not sell", "upstream/pause/account.go",
		`	if a.silentInRow < 2 {`, `	if true {`, unclear},
	{"lookups that prove nothing are told of", "worker/lookups.go",
		`		l.proofs = l.proofs.AfterBad(f.Why, now)`, ``, []string{"./worker", "-run", "TestNoteRound"}},
	{"a good answer to one worker ends what all tell of bad ones", "cmd/internal/operator/streak.go",
		`		if s == nil || !s.Last.After(all.Good) {`, `		if s == nil || s.Last.IsZero() {`, []string{"./cmd/internal/operator", "-run", "TestStreak"}},
	{"why the last lookup did not end a doubt is told", "worker/doubt.go",
		`	d.Asked++
	d.AskedAt, d.Answer =`, `	d.Asked++
	_, _ =`, told},
	{"no time is told while Redis is away that knows it", "cmd/internal/operator/next.go",
		`	case k.CacheErr != nil:
		return "Redis is away"`, `	case false:
		return "Redis is away"`, told},
	{"no operator is told to resume what the account's pause holds", "cmd/internal/operator/next.go",
		`		return at("probe", a.NextProbe, now)`, `		return at("resume", a.NextProbe, now)`, told},
	{"list and status have one word for what a pause holds", "cmd/internal/operator/detail.go",
		`		if t.Order != nil { // a pause may hold it`, `		if false {`, told},
	{"what is settled is not told of as published", "cmd/internal/operator/next.go",
		`	if k.Journal.ByOperator() {`, `	if false {`, told},
	{"an answered doubt that no worker has is not told of as claimed", "cmd/internal/operator/status.go",
		`&& hasAttempt(k) && !parked(k):`, `&& hasAttempt(k):`, told},
	{"nobody is told that the vendor is asked where an operator must settle", "cmd/internal/operator/next.go",
		`	case f.policy == worker.Hold:`, `	case false:`, told},
	{"an operator is told that a pause ends sooner than the one that it replaces", "cmd/internal/operator/pausing.go",
		`!b.Until.IsZero() && !end.Before(b.Until)`, `!b.Until.IsZero()`, []string{"./cmd/internal/operator", "-run", "TestReplaced"}},
	{"of two operators at once the second is told", "worker/natsio/control.go",
		`, jetstream.WithExpectLastSequencePerSubject(rev))`, `)`, adapter},
	{"what may have been bought is not cancelled", "dedupe/cancel.go",
		`	case v == InDoubt, v == Foreign:`, `	case false:`, known},
	{"an operator's final does not expire", "dedupe/journal.go",
		`	case ttl == 0, r.ByOperator():`, `	case ttl == 0:`, event},
	{"a request older than the journal is not cancelled", "dedupe/cancel.go",
		`	case k.Journal == nil && olderThanJournal(o, journalTTL, now):`, `	case false:`, known},
	{"nothing is cancelled that a journal made anew has forgotten", "dedupe/cancel.go",
		`	case k.Journal == nil && k.journalLost() && !k.doubtInCache():`, `	case false:`, known},
	{"an operator is not told that nothing was sent where the journal cannot be read", "dedupe/look.go",
		`	untrusted := k.JournalErr != nil || `, `	untrusted := `, known},
	{"an operator is not told that nothing was sent where the results cannot be read", "dedupe/look.go",
		`	untrusted := k.JournalErr != nil || k.EventErr != nil || `, `	untrusted := k.JournalErr != nil || `, known},
	{"an operator is not told that nothing was sent where the journal has lost a record", "dedupe/look.go",
		` || k.Journal == nil && k.Cache != nil && k.Cache.Rev != 0
`, `
`, known},
	{"an operator is not told that nothing was sent of what the journal may have forgotten", "dedupe/look.go",
		`journalTTL: k.JournalTTL}`, `}`, known},
	{"an operator is not told that nothing was sent of what a journal made anew has forgotten", "dedupe/look.go",
		`	case j.verdict == Fresh && k.journalLost():`, `	case false:`, known},
	{"an operator is not told that nothing was sent where Redis cannot be read", "dedupe/look.go",
		`	case j.verdict == Fresh && k.unread() != nil:`, `	case false:`, known},
	{"a cancellation is written over what the operator has seen", "dedupe/cancel.go",
		`	if k.JournalRev != c.Seen {`, `	if false {`, known},
	{"no send without an intent", "dedupe/intent.go",
		`	if err := s.writeOwned(ctx, c, r); err != nil {`, `	if err := error(nil); err != nil {`, life},
	{"the intent is a compare-and-set", "worker/natsio/journal.go",
		`		jetstream.WithExpectLastSequencePerSubject(rev),`, `		jetstream.WithMsgID(""),`, known},
	{"an intent that is tried again is the same record", "dedupe/intent.go",
		`	if !c.mayHaveIntent() {`, `	if true {`, known},
	{"who lost the intent does not send", "dedupe/intent.go",
		`	if err := s.writeOwned(ctx, c, r); err != nil {`, `	if err := s.writeOwned(ctx, c, r); err != nil && ctx.Err() != nil {`, life},
	{"a claim has one intent", "dedupe/intent.go",
		`	case c.hasIntent():`, `	case false:`, known},
	{"a lookup about an earlier attempt does not disprove the claim's own", "dedupe/store.go",
		`	case c.hasIntent():`, `	case false:`, known},
	{"an intent that was perhaps written is revoked", "dedupe/store.go",
		`	if c.mayHaveIntent() && `, `	if c.hasIntent() && `, known},
	{"no byte leaves after sendBy", "upstream/exchange.go",
		`func (x *exchange) late() bool { return time.Now().Round(0).After(x.sendBy) }`, `func (x *exchange) late() bool { return false }`, vendor},
	{"a request is written once", "upstream/call.go",
		`	if _, err = conn.Write(to.request(body)); err == nil {`, `	_, _ = conn.Write(to.request(body))
	if _, err = conn.Write(to.request(body)); err == nil {`, vendor},
	{"a connection that the vendor closed is not used", "upstream/conns.go",
		`	return errors.Is(err, os.ErrDeadlineExceeded)
`, `	return err != nil || errors.Is(err, os.ErrDeadlineExceeded)
`, vendor},
	{"an answer that nobody asked for is not the next one's", "upstream/conns.go",
		`	return errors.Is(err, os.ErrDeadlineExceeded)
`, `	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
`, vendor},
	{"a connection with half an answer on it is not used", "upstream/call.go",
		`	case !completed:
		conn.guarded.reset()
	case more:
`, `	case more, !completed:
`, vendor},
	{"every request is signed anew", "upstream/request.go",
		`return 10_000 + rand`, `return 10_000 + 0*rand`, vendor},
	{"unclassified means ambiguous", "upstream/error.go",
		`	return Ambiguous
}`, `	return Refused
}`, life},
	{"HTTP 5xx is ambiguous", "upstream/answer.go",
		`status >= 400 && status < 500 // an answer`, `status >= 400 && status < 600 // an answer`, vendor},
	{"bytes that were written make it ambiguous", "upstream/call.go",
		`	return a, x.wrote > 0, err`, `	return a, err == nil, err`, vendor},
	{"code 200 without an orderNumber may have been bought", "upstream/client.go",
		`&Error{Class: Ambiguous, Code: p.Code,`, `&Error{Class: Refused, Code: p.Code,`, vendor},
	{"what was bought without a number is never sent again", "dedupe/store.go",
		`	case c.Doubt.Sold():
		return misuse("disprove"`, `	case c.Doubt.Exists:
		return misuse("disprove"`, known},
	{"no failed while an earlier attempt is open", "worker/rules.go",
		`	case refused && inDoubt:
`, `	case refused && inDoubt && refusals+1 >= r.MaxAttempts:
		return decision{step: StepFailed, reason: AttemptsExhausted, refusals: refusals + 1}
	case refused && inDoubt:
`, life},
	{"what is no refusal of this order is not an attempt", "worker/rules.go",
		`	case !refused:
		return decision{step: StepWaiting, refusals: refusals}`, `	case !refused:
		return decision{step: StepWaiting, refusals: refusals + 1}`, life},
	{"takeover never resends blindly", "worker/task.go",
		`		return t.handleDoubt(grace, hard)`, `		return t.place(grace, hard)`, life},
	{"a lookup that fails proves nothing", "worker/lookups.go",
		`return l.report(round.Findings(false), control), err`, `return l.report(round.Findings(true), control), err`, life},
	{"a full page of a lookup proves nothing about who is not on it", "upstream/round.go",
		`e.partial || p.More`, `e.partial || false`, rounds},
	{"one \"not found\" is not enough", "worker/doubt.go",
		`	case f.missing && d.Missing && `, `	case f.missing && `, life},
	{"\"not found\" counts only after RECONCILE_DELAY", "worker/doubt.go",
		` && asked.After(t.rules.provable(d))`, ` && !asked.IsZero()`, life},
	{"failed only over one's own intent", "dedupe/store.go",
		`	write := s.writeOwned
	if succeeded {
		write = s.writeSuccess
	}`, `	write := s.writeSuccess`, known},
	{"a final never changes (journal)", "dedupe/write.go",
		`		if old.State == StateFinal {`, `		if false {`, known},
	{"a final never changes (Redis)", "dedupe/redisstore/scripts.go",
		`if redis.pcall('HGET', KEYS[1], 'state') == 'final' then return 0 end
redis.call('DEL'`, `redis.call('DEL'`, known},
	{"no ack before the event is stored", "worker/finish.go",
		`	final, existed, err := t.publishOnce(hard, e)
	if errors`, `	_ = t.delivery.Msg.Ack()
	final, existed, err := t.publishOnce(hard, e)
	if errors`, life},

	// The event is the record of a success.
	{"what the lookup found is journalled", "worker/doubt.go",
		`		return t.finish(hard, r)`, `		return t.publishFinal(hard, r.event(r.encode()), &r)`, ended},
	{"a success while an earlier attempt is open is journalled", "dedupe/intent.go",
		` && s.claim.Verdict != InDoubt &&`, ` &&`, event},
	{"a success after the lease is journalled", "dedupe/intent.go",
		` && !s.claim.leaseExpired()
}`, `
}`, event},
	{"a success of which no event is read is journalled", "dedupe/intent.go",
		`s.store.results != nil && `, ``, event},
	{"a success whose event does not suffice is journalled", "worker/finish.go",
		`	if !sent.EventSuffices() {`, `	if false {`, ended},
	{"failed is journalled first", "worker/finish.go",
		`	return t.finish(hard, r)
}

// succeed`, `	return t.publishFinal(hard, r.event(r.encode()), &r)
}

// succeed`, ended},
	{"the event is read before the vendor is asked about an open intent", "dedupe/judge.go",
		`	case k.event == nil || k.published:
		return k.judgeByEvent()
	case r.State == "":`, `	case r.State == "" && (k.event == nil || k.published):
		return k.judgeByEvent()
	case r.State == "":`, ended},
	{"the event is read where the journal has nothing", "dedupe/judge.go",
		`	case k.event == nil || k.published:
		return k.judgeByEvent()
	case r.State == "":`, `	case r.State != "" && (k.event == nil || k.published):
		return k.judgeByEvent()
	case r.State == "":`, ended},
	{"final events are read by their exact subjects", "worker/natsio/final.go",
		`names.ResultSubject(string(status), outTradeNo))`, `names.ResultSubject("*", outTradeNo))
		found = found && m.Header.Get(seqHeader) != "" && status != ""`, adapter},
	{"a final event is a compare-and-set", "worker/natsio/results.go",
		`	opts := []jetstream.PublishOpt{jetstream.WithExpectLastSequencePerSubject(0)}`, `	opts := []jetstream.PublishOpt{}`, adapter},
	{"a final event is compared with its own subject only", "worker/natsio/results.go",
		`jetstream.WithExpectLastSequencePerSubject(0)}`, `jetstream.WithExpectLastSequenceForSubject(0, j.names.ResultSubject("*", e.Subject))}`, adapter},
	{"an in_doubt event is compared with all events of its order", "worker/natsio/results.go",
		`	all := j.names.ResultSubject("*", e.Subject)`, `	all := msg.Subject`, adapter},
	{"failed is not stored beside succeeded", "worker/natsio/results.go",
		`	if e.Status == worker.Failed {`, `	if false {`, adapter},
	{"an event that exists is told of", "worker/natsio/results.go",
		`			return stored.Data, nil`, `			return stored.Data[:0], nil`, adapter},
	{"another result that is final is reported", "worker/finish.go",
		`		t.reportOtherResult(*ours, final.Payload)`, `		_ = *ours`, ended},
	{"the result that is final is remembered", "worker/finish.go",
		`t.claims.Remember(hard, t.claim, final.Payload)`, `t.claims.Remember(hard, t.claim, e.Payload)`, ended},
	{"the event carries the sequence of its request", "worker/natsio/results.go",
		`strconv.FormatUint(e.Seq, 10)`, `strconv.FormatUint(0, 10)`, adapter},
	{"Redis is told of a result after its event is stored", "worker/finish.go",
		`	final, existed, err := t.publishOnce(hard, e)
	if errors`, `	_ = t.claims.Remember(hard, t.claim, e.Payload)
	final, existed, err := t.publishOnce(hard, e)
	if errors`, ended},
	{"a success whose event is refused is journalled", "worker/finish.go",
		`	if errors.Is(err, ErrRefused) {`, `	if false {`, ended},
	{"a success without an event is written to the journal", "dedupe/store.go",
		`	err = write(ctx, c, r)`, `	if !succeeded {
		err = write(ctx, c, r)
	}`, event},
	{"an intent that was parked in doubt is not written again", "dedupe/write.go",
		` && (r.State != StateIntent || old.State != StateIntent)`, ``, []string{"./dedupe", "-run", "TestStoreParked"}},
	{"a remembered result keeps its account", "dedupe/store.go",
		`	o.Account = cmp.Or(c.ResultBy, c.Account)`, `	o.Account = cmp.Or(c.Account, c.ResultBy)`, event},
	{"an intent outlives JOURNAL_TTL and every call", "dedupe/journal.go",
		`		return ttl + intentMargin`, `		return ttl / 2`, event},
	{"an intent expires", "dedupe/journal.go",
		`		return ttl + intentMargin`, `		return 0`, event},
	{"a doubt does not expire", "dedupe/journal.go",
		`	case r.State == StateIntent && r.Parked.IsZero():`, `	case r.State == StateIntent:`, event},
	{"a doubt that only Redis knows is journalled before it is parked", "dedupe/store.go",
		`	case s.expires(c.known):`, `	case c.known.State == StateIntent && s.expires(c.known):`, event},
	{"a doubt is written again before an age limit", "dedupe/write.go",
		` || ttl > 0 && time.Since(r.Parked) > ttl/2`, ` && ttl >= 0`, event},
	{"a fact about a doubt does not expire", "dedupe/write.go",
		`	r.Parked = c.parkedAt
	r.Bought`, `	r.Bought`, event},
	{"the doubt of another account does not expire", "dedupe/claim.go",
		`	if s.expires(open) {`, `	if false {`, event},
	{"a doubt is not parked over what another has written", "dedupe/write.go",
		`	r.Parked = c.parkedAt
	err := s.compareAndSet(ctx, c, r, func(old Record) (Record, bool) { return r, old.Owner == c.Owner })`, `	r.Parked = c.parkedAt
	err := s.compareAndSet(ctx, c, r, func(Record) (Record, bool) { return r, true })`, event},
	{"an operator does not settle what has its event", "dedupe/look.go",
		`	if k.Event != nil && (k.Journal`, `	if false && (k.Journal`, event},
	{"an event has the same id each time", "worker/result.go",
		`ID:      r.OutTradeNo + "." + string(r.Status),`, `ID:      r.OutTradeNo + "." + string(r.Status) + time.Now().String(),`, life},
	{"an order in flight gets heartbeats", "worker/heartbeat.go",
		`_ = o.task.delivery.Msg.InProgress()`, `_ = o.task.delivery`, life},
	{"the consumer has no delivery limit", "worker/natsio/jetstream.go",
		`			MaxDeliver:    -1, `, `			MaxDeliver:    5, `, life},
	{"the consumer has no BackOff", "worker/natsio/jetstream.go",
		`			MaxAckPending: -1, `, `			BackOff: []time.Duration{time.Second, time.Minute}, MaxAckPending: -1, `, life},
	{"waiting orders do not count against a limit", "worker/natsio/jetstream.go",
		`			MaxAckPending: -1, `, `			MaxAckPending: 2, `, life},
	{"a lossy stream is refused", "worker/natsio/jetstream.go",
		`	if len(faults) > 0 && !j.names.AllowLossy {`, `	if false {`, adapter},
	{"go-redis sends nothing twice", "cmd/internal/connect/redis.go",
		`	case *redis.Options:
		o.OnConnect = onConnect
		o.ClientName, o.MaxRetries, o.ContextTimeoutEnabled = "orderworker", -1, true`, `	case *redis.Options:
		o.OnConnect = onConnect
		o.ClientName, o.MaxRetries, o.ContextTimeoutEnabled = "orderworker", 0, true`, server},
	{"Redis must not evict", "cmd/internal/connect/redis_audit.go",
		`if policy != "" && policy != "noeviction" {`, `if false {`, server},
	{"every master of a Cluster is asked", "cmd/internal/connect/redis_audit.go",
		`		err = c.ForEachMaster(ctx, ask)`, `		err = c.ForEachShard(ctx, func(ctx context.Context, one *redis.Client) error {
			if len(a.nodes) > 0 {
				return nil
			}
			return ask(ctx, one)
		})`, server},
	{"Redis is looked at while running", "cmd/internal/app/run.go",
		`	watching.Go(func() { memory.Watch(`, `	_ = (func() { memory.Watch(`, shell},
	{"what is wrong with Redis shows at /readyz", "cmd/internal/connect/redis_audit.go",
		`	if fault := a.fault.Load(); fault != nil && *fault != "" {`, `	if fault := a.fault.Load(); false {`, server},
	{"Redis' clock is compared", "cmd/internal/connect/redis_audit.go",
		`fault := node.clock.Compare(before, there, after); fault != ""`, `fault := node.clock.Compare(there, there, there); fault != "" || after.Before(before)`, server},
	{"keys that Redis evicted are told of", "cmd/internal/connect/redis_audit.go",
		`	if node.evicted >= 0 && evicted > node.evicted {`, `	if false {`, server},
	{"a short RECONCILE_DELAY is warned of", "cmd/internal/app/run.go",
		`	s.Warn(log)
`, ``, shell},
	{"clocks are at most 5 s apart", "worker/clock.go",
		`skew.Abs() <= MaxSkew`, `skew.Abs() <= 2*MaxSkew`, life},
	{"a process is not ready while pulls fail", "worker/natsio/jetstream.go",
		`	j.pullErr.Store(&err)
`, ``, adapter},
	{"a process is not ready while a stream has a fault", "worker/natsio/jetstream.go",
		`	j.auditErr.Store(&err)
`, ``, adapter},
	{"what the streams say shows at /readyz", "cmd/internal/app/run.go",
		`	ready.streams.Open(stream.Ready)`, `	ready.streams.Open(func(context.Context) error { _ = stream; return nil })`, shell},
	{"what a store refuses for good holds no slot", "worker/outcome.go",
		`	return errors.Is(err, dedupe.ErrBroken) || errors.Is(err, ErrRefused)`, `	return errors.Is(err, dedupe.ErrBroken)`, life},
	{"what a store refuses for good is looked at each minute", "worker/outcome.go",
		`		return handBack(StepInterrupted, repairDelay, err)
	}
	return handBack(s, 0, err)`, `		return handBack(StepInterrupted, 0, err)
	}
	return handBack(s, 0, err)`, life},
	{"what a store refuses for good is an error line", "worker/observe.go",
		`	case unrecoverable(o.err):
		return zerolog.ErrorLevel`, `	case unrecoverable(o.err):
		return zerolog.WarnLevel`, life},
	{"the age of the oldest order grows between two looks", "worker/metrics.go",
		`max(0, time.Since(oldest).Seconds())`, `max(0, oldest.Sub(oldest).Seconds())`, life},
	{"why the vendor did not sell is kept", "worker/task.go",
		`	case upstream.Refused, upstream.Account, upstream.Throttled:`, `	case upstream.Refused:`, shell},
	{"another account's attempt is shown as such", "cmd/internal/operator/status.go",
		`return account != "" && theirs != "" && theirs != account }`, `return false && theirs != account }`, shell},
	{"slots are further apart than 1 s / rate", "upstream/quota/limiter.go",
		`		window: time.Second + jitter,`, `		window: time.Second,`, limiter},

	// The vendor's answers, its lookups, the pause.
	{"\"not found\" counts only with the control number seen", "upstream/round.go",
		`	case !r.controlSeen:
		return fmt`, `	case false:
		return fmt`, rounds},
	{"every state is asked", "upstream/round.go",
		`	for _, state := range states {
`, `	for _, state := range states[:min(1, len(states))] {
`, rounds},
	{"a row of an order that nobody asked for: the answer is not understood", "upstream/round.go",
		`	case r.strange != "":
`, `	case false:
`, rounds},
	{"a row without an outTradeNo is nobody's where several were asked for", "upstream/round.go",
		`	case unnamed && n > 1:
`, `	case false:
`, rounds},
	{"a row without an outTradeNo says no more than that the order exists", "upstream/round.go",
		`		r.orders[r.current.numbers[0]].exists = true
	}`, `	}`, rounds},
	{"the control number is seen beside each order", "upstream/round.go",
		`		case !e.controlSeen:
`, `		case false:
`, rounds},
	{"two orderNumbers of one order are a double purchase", "upstream/round.go",
		`	if len(sold) > 1 {
`, `	if false {
`, rounds},
	{"a row without a valid orderNumber is a purchase", "upstream/round.go",
		`	if p.OrderNumber == "" {
		e.exists = true
	} else`, `	if p.OrderNumber == "" {
	} else`, rounds},
	{"an empty list of something else proves nothing", "upstream/round.go",
		`		if name != r.controlList {
`, `		if false {
`, vendor},
	{"an ambiguous code is not a refusal", "upstream/answer.go",
		`	default: // AmbiguousCodes
		return &Error{Class: Ambiguous}
`, `	default:
		return &Error{Class: Refused}
`, vendor},
	{"\"exists\" is not a refusal", "upstream/answer.go",
		`		return &Error{Class: Ambiguous, Exists: true}
	case AccountCodes`, `		return &Error{Class: Refused}
	case AccountCodes`, vendor},
	{"an account code is not a refusal", "upstream/answer.go",
		`	case AccountCodes:
		return &Error{Class: Account}
`, `	case AccountCodes:
		return &Error{Class: Refused}
`, vendor},
	{"an orderNumber beside another code is a purchase", "upstream/answer.go",
		`	case hasOrderNumber(r.data): `, `	case false: `, vendor},
	{"HTTP 4xx with code 200 is ambiguous", "upstream/answer.go",
		`	case r.code == codeOK && status != http.StatusOK: `, `	case false: `, vendor},
	{"a code of the body is no HTTP status of a gateway", "upstream/answer.go",
		`	known = known && definite && broken == nil
`, `	known = known && broken == nil
`, vendor},
	{"what the vendor says exists is never sent again", "worker/rules.go",
		` && !d.Sold()
}`, ` && !d.Bought
}`, life},
	{"what the vendor has said is written down, whatever else fails", "worker/doubt.go",
		`		err := t.publishNotice(hard)
		d.Noticed = err == nil
`, `		err := t.publishNotice(hard)
		if err != nil {
			return failure(StepInterrupted, errors.Join(err, why))
		}
		d.Noticed = true
`, life},
	{"\"not found\" does not disprove what exists", "dedupe/store.go",
		`	case c.Doubt.Sold():
		return misuse("disprove"`, `	case c.Doubt.Bought:
		return misuse("disprove"`, known},
	{"a control number is old enough to show", "worker/lookups.go",
		`l.controls.FindControl(ctx, now.Add(-l.minAge))`, `l.controls.FindControl(ctx, now)`, life},
	{"a failed lookup does not lengthen the schedule", "worker/doubt.go",
		`		return t.recheckLater(hard, d, f.retryIn, err)
`, `		d.Asked++
		return t.recheckLater(hard, d, t.recheckDelay(d, time.Now()), err)
`, life},
	{"the second \"not found\" follows the first soon", "worker/rules.go",
		`		next = min(next, tenth)
`, `		next = min(next, max(tenth, next))
`, life},
	{"no more calls than may be unanswered", "upstream/pause/account.go",
		`	case a.cause == noPause && a.unanswered < maxUnanswered:
`, `	case a.cause == noPause:
`, account},
	{"a pause sends nothing", "upstream/pause/account.go",
		`	case a.probing || a.lookupNext || now.Before(a.due):
`, `	case false:
`, account},
	{"an account code pauses", "upstream/pause/account.go",
		`		if a.cause != accountRefused {
`, `		if false {
`, account},
	{"calls without an answer pause", "upstream/pause/account.go",
		`a.silentInRow >= maxSilent &&`, `a.silentInRow < 0 &&`, account},
	{"a refusal while the account is not known to work spends no attempt", "upstream/pause/account.go",
		`		return counts
	}
	return needsLookup
`, `		return counts
	}
	return counts
`, account},
	{"a refusal of the lookup too pauses", "upstream/pause/account.go",
		`	case refusedLookup(err) && a.cause == noPause:
`, `	case false:
`, account},
	{"a lookup without an answer decides nothing", "upstream/pause/account.go",
		`	return class == upstream.Refused || class == upstream.Account
`, `	return class != ""
`, account},
	{"a refusal is not counted where the lookup is refused", "upstream/pause/account.go",
		`a lookup is refused too: %v", err), refusal, now)
	}
	return doesNotCount
`, `a lookup is refused too: %v", err), refusal, now)
	}
	return counts
`, account},
	{"a probe that is refused spends no attempt", "upstream/pause/account.go",
		`	case probe, a.cause != noPause:
		return doesNotCount
`, `	case probe, a.cause != noPause:
		return counts
`, account},
	{"a pause that begins while an order waits for its slot stops it", "worker/place.go",
		`		case err == nil && permit.Valid() && t.halts.Allows() == nil:
`, `		case err == nil && t.halts.Allows() == nil:
`, paused},
	{"an attempt of another account is not taken over (Redis)", "dedupe/redisstore/scripts.go",
		`(left() > 0 or theirs)`, `left() > 0`, known},
	{"an attempt of another account is not taken over (journal)", "dedupe/judge.go",
		`case r.State == StateIntent && OtherAccount(r.Account, k.order.Account):`, `case false:`, known},
	{"an order that is another account's is not adopted while its attempt is open", "dedupe/judge.go",
		`, j.verdict == Done, j.verdict == Foreign:`, `, j.verdict == Done:`, known},
	{"keys carry the deployment", "dedupe/redisstore/cache.go",
		`dedupe.SubjectToken(deployment) + ":order:"`, `"order:"`, known},
	{"an order in doubt of another account is not adopted where the journal has nothing", "dedupe/judge.go",
		`case j.verdict == InDoubt && k.journal.State == "":`, `case false:`, known},
	{"what the journal has read is judged by it, whatever the clock says by then", "dedupe/judge.go",
		`case !lost && k.journal == nil && e.Replaced`, `case !lost && e.Replaced`, known},
	{"an operator sees the journal's word, not an older one of Redis", "dedupe/look.go",
		`	if k.Journal != nil && e.cache.State != StateFinal {`, `	if false {`, known},
	{"an order stays its first request's", "dedupe/claim.go",
		`Seq:         c.First,`, `Seq:         c.Seq,`, known},
	{"what exists at the vendor is not sent again", "dedupe/intent.go",
		`	case c.Doubt.Sold():`, `	case c.Doubt.Bought:`, known},
	{"what was bought without a number gets no intent", "dedupe/intent.go",
		`	case c.Doubt.Sold():`, `	case c.Doubt.Exists:`, known},
	{"that it exists at the vendor is journalled", "dedupe/store.go",
		`, d.Exists && !c.known.Exists:`, `:`, known},
	{"a lapsed claim is in doubt where the journal was lost", "dedupe/judge.go",
		`case e.Owner != "" && *k.journalLost:`, `case e.Owner != "" && *k.journalLost && false:`, known},
	{"a first delivery that is too old is not new", "dedupe/judge.go",
		` && !k.redelivered && !k.olderThanJournal():`, ` && !k.redelivered:`, known},
	{"what was never sent is parked as that", "dedupe/store.go",
		`if never {`, `if never && false {`, known},
	{"the age of a request counts at each write over nothing", "dedupe/write.go",
		`	if s.tooOld(c) {
		s.giveUpLease(ctx, c, errTooOld)
		return errTooOld
	}
	if c.revision`, `	if c.revision`, known},
	{"a Redis key of another type is replaced", "dedupe/redisstore/scripts.go",
		`if why then redis.call('DEL', KEYS[1]) end`, ``, known},
	{"a success is written over a record that cannot be read", "dedupe/write.go",
		`if !ok || ctx.Err() != nil {`, `if true || !ok || unreadable.rev == 0 {`, known},
	{"a fact is written over a record that cannot be read", "dedupe/write.go",
		`	err := s.writeOverUnreadable(ctx, c, &r, func(old Record)`, `	err := s.compareAndSet(ctx, c, r, func(old Record)`, known},
	{"what the journal refuses for good holds no slot", "worker/natsio/journal.go",
		`		case journalRefuses(err):`, `		case false:`, known},
	{"a reply for another owner is none", "dedupe/redisstore/cache.go",
		`if by != owner && (isNew || by != "") {`, `if false {`, known},
	{"a reply about another order is none", "dedupe/redisstore/cache.go",
		`v[replyFields-1] != key {`, `false {`, known},
	{"no intent on a lease that is over", "dedupe/intent.go",
		`	case c.leaseExpired():
`, `	case false:
`, known},
	{"no write over nothing on a lease that is over", "dedupe/write.go",
		`if c.revision() == 0 && c.leaseExpired() {`, `if false {`, known},
	{"no failed on a lease that is over", "dedupe/store.go",
		`case !succeeded && c.leaseExpired():`, `case false:`, known},
	{"a lease that ended during the intent grants nothing", "dedupe/intent.go",
		`	if c.leaseExpired() { // the intent`, `	if false { // the intent`, known},
	{"a lease counts from before it was asked for", "dedupe/claim.go",
		`	c.setLease(time.Now(), s.cfg.Lease)
	e, taken, err := s.cache.Claim(ctx, c.Order, c.Owner, s.cfg.Lease)
`, `	e, taken, err := s.cache.Claim(ctx, c.Order, c.Owner, s.cfg.Lease)
	c.setLease(time.Now(), s.cfg.Lease)
`, known},
	{"a loss of Redis is noticed", "dedupe/judge.go",
		`lost := k.cacheLost != nil && *k.cacheLost`, `lost := false`, known},
	{"a birth mark that is missing is a loss", "dedupe/redisstore/scripts.go",
		`	born = string.format('%.0f', t[1] * 1000000 + t[2])`, `	born = '0'`, known},
	{"a server that came back with an old memory has lost some", "dedupe/redisstore/server.go",
		`if mark[2] then redis.call(`, `if false then redis.call(`, known},
	{"what was parked unsent in an old memory may be bought", "dedupe/judge.go",
		`if (e.State == "" || e.Rev == 0) && k.cacheLost == nil {`, `if e.State == "" && k.cacheLost == nil {`, known},
	{"a birth mark is complete only where it is still the same", "dedupe/redisstore/scripts.go",
		`if redis.call('HGET', KEYS[1], 'born') ~= ARGV[1] then return 0 end`, ``, known},
	{"a Cluster has no birth mark to go by", "dedupe/redisstore/cache.go",
		`	case err != nil:
		return time.Now()`, `	case err != nil:
		return time.Time{}`, known},
	{"a settled order is over by its record", "dedupe/look.go",
		`	if over.IsZero() {`, `	if true {`, known},
	{"the end of an earlier request counts", "dedupe/intent.go",
		`	if r.EarlierOpen && c.Doubt.Over.After(r.Over) {`, `	if false {`, known},
	{"the end of another's request counts", "dedupe/write.go",
		`		if !r.Over.IsZero() && over.After(r.Over) {`, `		if false {`, known},
	{"a leased claim alone rejects nobody", "dedupe/judge.go",
		`case onlyClaimed && e.Owner != "" && e.Left > 0:`, `case false && onlyClaimed:`, known},
	{"what another process sent is over by its own settings", "worker/rules.go",
		`	if !d.Over.IsZero() {`, `	if false {`, life},
	{"what was not checked is not published", "cmd/internal/submit/file.go",
		`	if sum.Sum64() != c.sum {`, `	if false {`, files},
	{"a number with other content is refused", "cmd/internal/submit/file.go",
		`	switch faulty += conflicts; {`, `	switch faulty += 0 * conflicts; {`, files},
	{"a prefix gives no number another meaning", "cmd/internal/submit/completed.go",
		`	if err == nil && !same {`, `	if err == nil && !same && false {`, files},
	{"a results file is not overwritten", "cmd/internal/submit/place.go",
		`	if !force {`, `	if false {`, files},
	{"a spreadsheet's number is no number", "cmd/internal/submit/rows.go",
		`!spreadsheet.MatchString(value)`, `field == iccid || !spreadsheet.MatchString(value)`, files},
	{"a result that was final is final in the results file", "cmd/internal/submit/collect.go",
		`case err == nil && missing == 0:`, `case err == nil:`, files},
	{"results are waited for during an election", "cmd/internal/submit/follow.go",
		`case errors.Is(err, client.ErrUnavailable) && ctx.Err() == nil:`, `case errors.Is(err, client.ErrNoResults) && ctx.Err() == nil:`, files},
	{"the results file is not the file of orders", "cmd/internal/submit/place.go",
		`path != "-" && sameFile(o.Out, path)`, `false && sameFile(o.Out, path)`, files},
	{"repeated numbers are compared without decoding again", "cmd/internal/submit/repeats.go",
		`if d.rows == nil || d.chunk`, `if true || d.chunk`, files},
	{"reading does not count tries without a connection", "worker/client/results.go",
		`case lost:`, `case false && lost:`, []string{"./worker/client"}},
	{"a silent stream is given up by time", "worker/client/submit.go",
		`if time.Since(s.silent) < s.c.config.StreamTimeout {`, `if s.silent.IsZero() {`, []string{"./worker/client"}},
	{"a request that was refused is published again", "worker/client/submit.go",
		`append(unstored, s.queue...)`, `append(unstored[:0], s.queue...)`, []string{"./cmd/orderworker", "-run", "TestSubmitWaits"}},
	{"an event about other content is not this request's", "worker/client/outcome.go",
		`		if same(r, e, fingerprint) {`, `		if true || same(r, e, fingerprint) {`, []string{"./worker/client"}},
	{"a rejected event counts for its own payload only", "worker/client/outcome.go",
		` && m.header.Get(idHeader) == worker.RejectedID(r.OutTradeNo, payload)`, ` && len(payload) > 0`, []string{"./worker/client"}},
	{"the console changes nothing without the token", "cmd/internal/console/change.go",
		`	if ok {
		return who, nil`, `	if ok || who == "" {
		return who, nil`, pages},
	{"the console changes nothing for another site's page", "cmd/internal/console/console.go",
		`		if err := origin.Check(r); err != nil {`, `		if err := origin.Check(r); err != nil && r.Method == http.MethodGet {`, pages},
	{"the console asks first", "cmd/internal/console/change.go",
		`		if !agreed {`, `		if !agreed && api {`, pages},
	{"a bucket that lost its word is not taken for one without a pause", "worker/natsio/control.go",
		`	case !found && c.said.Load():`, `	case false:`, adapter},
	{"a deployment that does not exist is not paused", "cmd/internal/operator/pausing.go",
		`	case errors.Is(err, jetstream.ErrStreamNotFound):`, `	case false && errors.Is(err, jetstream.ErrStreamNotFound):`, desk},
	{"an operator is told what was published and not removed", "cmd/internal/operator/dead.go",
		`("%s, but may still be a dead letter (%w): never replay it under another number", published, err)`, `("%[2]w", published, err)`, desk},
	{"an operator is told that a replayed letter will be a dead letter again", "cmd/internal/operator/dead.go",
		`			if futile != "" {`, `			if false {`, desk},
	{"a letter that was cut is not counted as one that can be replayed", "cmd/internal/operator/dead.go",
		`	if e.cannot != nil {`, `	if e.cannot != nil && false {`, desk},
	{"a correction is not taken for a repeat of what was published before", "cmd/internal/operator/dead.go",
		`sha256.Sum256(payload)))`, `sha256.Sum256(nil)))`, desk},
	{"a dead letter of two orders is not corrected into one", "cmd/internal/operator/correct.go",
		`; !errors.Is(err, io.EOF) {`, `; false && !errors.Is(err, io.EOF) {`, letters},
	{"an operator agrees to what was shown and nothing else", "cmd/internal/console/change.go",
		`agreed := subtle.ConstantTimeCompare([]byte(confirm), []byte(ch.digest())) == 1 ||`, `agreed := subtle.ConstantTimeCompare([]byte(confirm), []byte(ch.digest())) == 1 || len(confirm) == 32 ||`, pages},
	{"a count that could not be asked is not shown as 0", "cmd/internal/operator/list_table.go",
		`		if !c.Known(name) {`, `		if false {`, lists},
	{"the console does not show a count that could not be asked as 0", "cmd/internal/operator/counts.go",
		`			if !before.Known(one.name) {`, `			if false {`, []string{"./cmd/internal/console", "-run", "TestIndexSays"}},
	{"only orders that failed are counted as failed", "cmd/internal/operator/counts.go",
		`FilterSubject: d.ResultsSubject + "." + string(Failed) + ".*"`, `FilterSubject: d.ResultsSubject + ".>"`, lists},
	{"an order whose event is published is not listed as open", "cmd/internal/operator/next.go",
		`if k.Event != nil || k.Verdict`, `if k.Verdict`, []string{"./cmd/orderworker", "-run", "TestDeskListsWhatIsNot"}},
	{"an operator is told of an order that was told as failed and is bought", "cmd/internal/operator/detail_table.go",
		`	if t.twoFinals() {`, `	if false {`, []string{"./cmd/orderworker", "-run", "TestStatusShowsTwo"}},
	{"a worker that has not read the operator's word is not shown as one that buys", "cmd/internal/operator/list_table.go",
		`b.Unknown == "" && b.Starting:`, `b.Unknown == "" && false:`, []string{"./cmd/orderworker", "-run", "TestDeskListsWorkers"}},
	{"a write whose connection was lost is not told of as not written", "cmd/internal/operator/away.go",
		`	return fmt.Errorf("NATS does not answer at %s: %s", hosts(natsURL), reason)`, `	return &awayError{fmt.Sprintf("NATS does not answer at %s: %s", hosts(natsURL), reason)}`, letters},
	{"a session is over after its time", "cmd/internal/console/guard.go",
		`return s, now.Unix() < s.Until`, `return s, true`, pages},
	{"an order that has ended is not shown as in doubt", "cmd/internal/console/search.go",
		`return r.Open() && (!ended`, `return r.Open() && (true || !ended`, pages},
	{"a payload is shown, control characters too", "cmd/internal/console/render.go",
		`	return operator.Shown(text, maxShown)
}`, `	return text
}`, pages},
}
