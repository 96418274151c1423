package doctor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"orderworker/upstream"
)

const (
	// maxUnpaced is the most lookups that are made where the quota cannot be used,
	// unpacedGap the time between two of them: workers may be calling too.
	maxUnpaced = 8
	unpacedGap = time.Second
	// sendWithin is how long a lookup may take from its slot to the wire.
	sendWithin = 3 * time.Second
)

var errUnpaced = fmt.Errorf("not asked: without Redis, which has the account's quota, at most %d lookups are made", maxUnpaced)

// ask makes one lookup in a slot of the account's quota or, if Redis is unavailable, at a
// pace of its own.
func (v *vendorVisit) ask(ctx context.Context, connect func(context.Context) (Line, error), q upstream.Question) (page upstream.Page, spent time.Duration, err error) {
	var line Line
	defer func() {
		if line != nil {
			line.Release()
		}
	}()
	ready := func(ctx context.Context) (err error) {
		line, err = upstream.Reconnect(ctx, line, connect)
		return err
	}
	paced := v.Rate == 0 || v.redis.wait(ctx)
	if paced {
		err = v.Quota.WaitLookup(ctx, ready)
	} else {
		err = v.wait(ctx, ready)
	}
	if err != nil {
		return upstream.Page{}, 0, err
	}
	start := time.Now()
	page, err = line.Lookup(ctx, q, start.Add(sendWithin))
	spent = time.Since(start)
	if e, ok := errors.AsType[*upstream.Error](err); ok && e.Class == upstream.Throttled && paced {
		_ = v.Quota.Slow(ctx, e.RetryAfter) // the workers obey too; that they may not hear of it costs them one answer
	}
	return page, spent, err
}

// wait paces the lookups that are made without the quota.
func (v *vendorVisit) wait(ctx context.Context, ready func(context.Context) error) error {
	if v.calls++; v.calls > maxUnpaced {
		return errUnpaced
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Until(v.last.Add(unpacedGap))):
	}
	v.last = time.Now()
	return ready(ctx)
}

// account checks that the vendor accepts the account. It looks up an order that does not
// exist; an accepted account gets an empty list.
func (v *vendorVisit) account(ctx context.Context) Finding {
	page, spent, err := v.ask(ctx, v.Connect, v.aboutNobody())
	e, answered := errors.AsType[*upstream.Error](err)
	switch {
	case err == nil && len(page.Rows) > 0:
		return warning("accepted in %v, but the lookup shows %d rows for an order that does not exist", took(spent), len(page.Rows)).
			but("find out with --known how the vendor's lookup is to be asked: nothing that it says is believed so")
	case err == nil:
		return fine("accepted in %v", took(spent))
	case !answered:
		return because(ctx, err).but("give a longer --timeout")
	}
	v.refused = e.Code
	switch f := failed("%s", v.saidNo(e)); e.Class {
	case upstream.Throttled:
		f.Result = Warning
		return f.but("find out who else calls with this account, or lower UPSTREAM_RATE")
	case upstream.Refused:
		return f.but("check UPSTREAM_APPKEY, UPSTREAM_SECRET and UPSTREAM_LOOKUP_STATES; --bad-signature tells whether this code means a wrong secret")
	case upstream.Unreachable, upstream.Ambiguous:
		return f.but("ask the vendor whether the API is up, and try again")
	default:
		return f.but("%s", accountCures[e.Code]) // "": as the table says
	}
}

// accountCures say what to do about a code by which the vendor refuses the whole account.
var accountCures = map[string]string{
	"502": "tell the vendor the address that this host reaches it from (behind NAT the gateway's), to be put on the account's whitelist; then run doctor again. " +
		"Meanwhile the workers buy nothing, lose nothing, and go on by themselves",
	"403":   "ask the vendor what this account may do; --bad-signature tells whether this code means a wrong UPSTREAM_SECRET instead",
	"45112": "top up the account with the vendor; the workers go on by themselves within a minute",
}

// aboutNobody returns a lookup of an order that does not exist.
func (v *vendorVisit) aboutNobody() upstream.Question {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	q := upstream.Question{Numbers: []string{"doctor-" + hex.EncodeToString(b[:])}}
	if len(v.States) > 0 {
		q.State = &v.States[0]
	}
	return q
}

// saidNo describes a refusal by the vendor, and what its code means.
func (v *vendorVisit) saidNo(e *upstream.Error) string {
	text := e.Error()
	if e.Code == "" {
		return text
	}
	list, listed := v.Codes[e.Code]
	for _, k := range upstream.KnownCodes {
		if k.Code == e.Code && e.Message != k.Meaning {
			text += fmt.Sprintf(" (which means: %s)", k.Meaning)
		}
	}
	if !listed && e.Class == upstream.Account {
		return text + " (the HTTP status says so)"
	}
	if listed {
		return text + fmt.Sprintf(" (one of %s)", setting(list))
	}
	return text + " (in none of the lists of codes)"
}

// setting returns the variable of a list of codes.
func setting(l upstream.List) string { return "UPSTREAM_" + strings.ToUpper(string(l)) + "_CODES" }

// wrongSignature finds out with which code the vendor refuses a wrong signature.
func (v *vendorVisit) wrongSignature(ctx context.Context) Finding {
	_, spent, err := v.ask(ctx, v.ConnectWrong, v.aboutNobody())
	e, answered := errors.AsType[*upstream.Error](err)
	switch {
	case err == nil:
		return failed("the vendor accepted it in %v: it does not check signatures", took(spent)).but("make sure that UPSTREAM_URL is the vendor, and tell it")
	case !answered:
		return because(ctx, err).but("give a longer --timeout")
	}
	said := v.saidNo(e)
	if e.Code != "" && e.Code == v.refused {
		said += "; the account's own lookup was refused with the same code"
	}
	list, listed := v.Codes[e.Code]
	switch {
	case e.Class == upstream.Account:
		return fine("%s", said)
	case e.Class == upstream.Throttled && !listed, e.Class == upstream.Unreachable, e.Class == upstream.Ambiguous && !listed:
		return warning("the vendor did not say: %s", said)
	case listed && list == upstream.AmbiguousCodes:
		return warning("%s", said).but("nothing: the code means more than that, so orders stay in doubt while the secret is wrong")
	case listed:
		return failed("%s", said).but("take %s out of %s and set %s", e.Code, setting(list), v.accountCodes(e.Code))
	}
	return warning("%s", said).but("set %s", v.accountCodes(e.Code))
}

// accountCodes returns UPSTREAM_ACCOUNT_CODES with code added.
func (v *vendorVisit) accountCodes(code string) string {
	codes := []string{}
	for c, list := range v.Codes {
		if list == upstream.AccountCodes {
			codes = append(codes, c)
		}
	}
	slices.Sort(codes)
	return setting(upstream.AccountCodes) + "=" + strings.Join(append(codes, code), ",")
}
