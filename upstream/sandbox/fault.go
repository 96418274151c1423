package sandbox

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// oversizedBytes is the padding of an Oversized answer. The client's limit is 1 MiB.
const oversizedBytes = 2 << 20

// fail makes the fault of a rule. Answer executes the call as if there were no fault;
// fail calls it once at most, and before the fault if the rule says buy.
func (v *Vendor) fail(w http.ResponseWriter, r *http.Request, rule Rule, answer func() reply) {
	answer = sync.OnceValue(answer)
	if rule.Buy {
		answer()
	}
	a := rule.Action
	switch a.Kind {
	case Refuse, Status, Throttle, NotJSON, Redirect:
		v.refuseBy(w, r, a, answer)
	case Hang:
		v.wait(cmp.Or(a.Wait, MaxHang), r.Context().Done())
		panic(http.ErrAbortHandler) // net/http closes the connection, and does not log
	case Delay:
		if !v.wait(a.Wait, nil) {
			panic(http.ErrAbortHandler)
		}
		writeJSON(w, http.StatusOK, answer())
	case Reset:
		hangUp(w, true)
	case Shut:
		hangUp(w, false)
	case Cut, Oversized, Deep:
		// The client may be able to read the spoiled body, so it must be true.
		spoiled := reply{Code: CodeFailed, Message: messages[CodeFailed]}
		if rule.Buy || r.URL.Path == LookupPath {
			spoiled = answer()
		}
		writeSpoiled(w, a, spoiled)
	default:
		writeJSON(w, http.StatusOK, changed(a, answer()))
	}
}

// refuseBy answers with a code or an HTTP status that is no success. It calls answer
// only if the action has data.
func (v *Vendor) refuseBy(w http.ResponseWriter, r *http.Request, a Action, answer func() reply) {
	var data any
	if a.Data {
		data = answer().Data
	}
	switch a.Kind {
	case Refuse:
		code := cmp.Or(a.Code, CodeRefused)
		writeJSON(w, http.StatusOK, reply{code, cmp.Or(a.Message, messages[code], "refused"), data})
	case Status:
		writeStatus(w, a, data)
	case Throttle:
		retryAfter := retryAfterSeconds(a.RetryAfter)
		if a.Date {
			retryAfter = v.retryAfterDate(a.RetryAfter)
		}
		writeThrottled(w, cmp.Or(a.Code, CodeThrottled), cmp.Or(a.Message, messages[CodeThrottled]), retryAfter)
	case NotJSON:
		writeHTML(w, http.StatusOK)
	case Redirect:
		http.Redirect(w, r, cmp.Or(a.To, "/moved"), http.StatusFound)
	}
}

// changed returns the usual answer with the change of an action. Pass and Rows change
// nothing here.
func changed(a Action, usual reply) reply {
	switch a.Kind {
	case NoData:
		return withData(usual, func(any) any { return nil })
	case NoNumber:
		return withData(usual, func(data any) any { return withNumber(data, "") })
	case Number:
		return withData(usual, func(data any) any { return withNumber(data, strings.Repeat(a.Number, max(a.Repeat, 1))) })
	case Numeric:
		return numeric(usual)
	}
	return usual
}

// throttle answers a call that is over the rate.
func (v *Vendor) throttle(w http.ResponseWriter) {
	if v.cfg.ThrottleAs == ThrottleAsCode {
		writeJSON(w, http.StatusOK, reply{Code: v.cfg.ThrottleCode, Message: messages[CodeThrottled]})
		return
	}
	writeThrottled(w, v.cfg.ThrottleCode, messages[CodeThrottled], retryAfterSeconds(v.cfg.RetryAfter))
}

// withData changes the data of a success. A refusal (of a repeat) stays as it is.
func withData(a reply, change func(any) any) reply {
	if a.Code == CodeSuccess {
		a.Data = change(a.Data)
	}
	return a
}

// numeric makes the code a number if it can be one.
func numeric(a reply) reply {
	if n, err := strconv.Atoi(fmt.Sprint(a.Code)); err == nil {
		a.Code = n
	}
	return a
}

// writeJSON answers with a value. It panics if the value cannot be encoded.
func writeJSON(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller may have closed the connection
}

func writeHTML(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<html><head><title>%[1]d %[2]s</title></head><body><h1>%[1]d %[2]s</h1></body></html>\n", status, http.StatusText(status))
}

// writeStatus answers with the HTTP status of a Status action. If the action has no
// code, the body has none, like that of a proxy.
func writeStatus(w http.ResponseWriter, a Action, data any) {
	if a.HTML {
		writeHTML(w, a.Status)
		return
	}
	writeJSON(w, a.Status, struct {
		Code    string `json:"code,omitempty"`
		Message string `json:"message"`
		Data    any    `json:"data,omitempty"`
	}{a.Code, cmp.Or(a.Message, http.StatusText(a.Status)), data})
}

// writeThrottled answers HTTP 429. An empty retryAfter means no such header.
func writeThrottled(w http.ResponseWriter, code, message, retryAfter string) {
	if retryAfter != "" {
		w.Header().Set("Retry-After", retryAfter)
	}
	writeJSON(w, http.StatusTooManyRequests, reply{Code: code, Message: message})
}

// retryAfterSeconds returns d as a whole number of seconds, rounded up; "" for 0.
//
// Source: RFC 9110, section 10.2.3.
func retryAfterSeconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// retryAfterDate returns the time that is d from now as an HTTP date, rounded up.
func (v *Vendor) retryAfterDate(d time.Duration) string {
	return v.now().Add(d + time.Second - 1).UTC().Format(http.TimeFormat)
}

// writeSpoiled answers with a body that a client cannot read, or should not.
func writeSpoiled(w http.ResponseWriter, a Action, answer reply) {
	switch a.Kind {
	case Cut:
		writeCut(w, answer)
	case Oversized:
		writeJSON(w, http.StatusOK, struct {
			Padding string `json:"padding"`
			reply
		}{strings.Repeat("x", oversizedBytes), answer})
	case Deep:
		writeDeep(w, answer, cmp.Or(a.Depth, DefaultDepth))
	}
}

// writeDeep answers with nested arrays before the usual fields. It does not encode
// them with encoding/json, which refuses to nest so deep.
func writeDeep(w http.ResponseWriter, answer reply, depth int) {
	body, err := json.Marshal(answer)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	_, _ = fmt.Fprintf(w, `{"padding":%s%s,%s`, strings.Repeat("[", depth), strings.Repeat("]", depth), body[1:])
}

// writeCut announces the whole body, and sends half of it.
func writeCut(w http.ResponseWriter, a reply) {
	body, err := json.Marshal(a)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body[:len(body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// hangUp closes the connection without an answer. With reset the other side sees a TCP
// RST instead of a FIN. If the connection cannot be hijacked (HTTP/2, a recorder),
// hangUp aborts the handler, which is the nearest to it.
func hangUp(w http.ResponseWriter, reset bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tlsConn, ok := conn.(interface{ NetConn() net.Conn }); ok && reset {
		conn = tlsConn.NetConn()
	}
	if tcp, ok := conn.(interface{ SetLinger(int) error }); ok && reset {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
