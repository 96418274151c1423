package sandbox

// Help explains rules, lookup modes and admin pages to users and to readers of this
// package. Every rule, mode, command and address in it works as it is.
const Help = `A rule is a fault on request: conditions, ":", an action. The first rule that fits a call decides it; all its conditions must fit.

Conditions, and examples of rules with them:

    always                             always: delay=300ms
    endpoint=order|lookup|any          endpoint=any: status=503 html            (default: order)
    packageCode=PATTERN                packageCode=BAD-*: refuse code=41018     (orders; * also spans /)
    outTradeNo=PATTERN                 outTradeNo=T-*: reset                    (a lookup: one of its numbers)
    state=0|1|2                        endpoint=lookup state=1: rows hide=*     (lookups: what they ask for)
    p=0.25                             p=0.25: close                            (the same calls with one --seed)
    first=2                            first=2: refuse code=45112               (of each outTradeNo)
    after=10s for=20s                  after=10s for=20s: throttle retry-after=2s

Not a condition, but done first (orders only): enter the purchase in the book.

    buy                                buy first=1: refuse code=500             (bought, and denied)
    buy=0|1|2                          packageCode=ADD-* buy=0: pass            (bought in that state; else 1)

States: 0 waiting (an add-on), 1 in use (a main package, at once), 2 finished or refunded.

Actions that answer something else:

    refuse code= message= data         always: refuse code=502
                                       buy: refuse code=10000 data              (the orderNumber beside the code)
    status=N                           always: status=503 code=501              (as refuse; or html alone)
    throttle retry-after= date         always: throttle retry-after=2s date     (HTTP 429; also code= message=)
    hang[=TIME]                        buy first=1: hang=5s                     (no answer)
    reset, close, cut                  always: cut                              (in the middle of the body)
    notjson, oversized, deep[=LEVELS]  always: deep=9000
    redirect to=                       always: redirect to=http://127.0.0.1:1/

Actions that give the usual answer, so an order is bought:

    pass                               outTradeNo=GOOD-*: pass                  (no later rule decides)
    delay=TIME                         always: delay=2s                         (also when the caller has gone)
    numeric, nodata, nonumber          always: nonumber                         (no orderNumber)
    number=TEXT repeat=N               always: number="\x1b[2J" repeat=50       (in place of each orderNumber)
    rows MODE                          endpoint=lookup for=30s: rows hide=*     (lookups; below)

A lookup mode changes the rows that a lookup shows: for one rule (rows), or for all lookups (--lookup-mode, /lookup-mode).

    hide=PATTERN                       hide=*                                   (blind; or only some outTradeNos)
    omit=FIELD,FIELD                   omit=outTradeNo
    packages=N                         packages=3                               (rows per purchase)
    strangers=N                        strangers=2                              (rows of other orders)
    full                               full                                     (every page; they never end)
    miscount=N                         miscount=-1                              (the counter is wrong by N)
    list=NAME                          list=cards hide=*                        (an empty list of something else)

To start it:

    orderworker sandbox --rule 'packageCode=ADD-* buy=0: pass' --rule 'first=1 buy: hang'
    orderworker sandbox --lookup-without-state 0 --lookup-mode 'packages=2 omit=outTradeNo'
    orderworker sandbox --throttle-as code --refuse-repeats 503016

While it runs; an empty body ends the rules, or the mode:

    curl -X PUT -d 'first=1 buy: refuse code=500' http://127.0.0.1:8480/rules
    curl -X PUT -d 'hide=*' http://127.0.0.1:8480/lookup-mode
    curl -X PUT -d true http://127.0.0.1:8480/down
    curl -X POST 'http://127.0.0.1:8480/state?outTradeNo=T-1&state=2'
    curl http://127.0.0.1:8480/book
    curl 'http://127.0.0.1:8480/book?totals'
    curl http://127.0.0.1:8480/rules
    curl http://127.0.0.1:8480/lookup-mode
    curl -X POST http://127.0.0.1:8480/reset
    curl http://127.0.0.1:8480/healthz

Codes of the vendor: 403 permission, 500 failed, 501 too fast, 502 whitelist, 41002 41003 iccid, 41008 operator, 41018 41028 41050 package, 41029 activation, 45112 balance, 503016 duplicate. A wrong sign, timestamp and the like are answered with 1001 to 1009, which are invented: the vendor does not document its own.
`
