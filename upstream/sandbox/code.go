package sandbox

// Codes of the answers. Every failed check is answered with HTTP 200 and one of
// these, as the vendor does. The vendor's own table is not public: all of them but
// CodeSuccess are invented, and a client must not depend on them.
const (
	CodeSuccess     = "200"  // done; source: the reference
	CodeSign        = "1001" // sign is wrong, or is not 40 upper-case hex digits
	CodeAppKey      = "1002" // no such appkey
	CodeTimestamp   = "1003" // timestamp too old, or too far in the future
	CodeField       = "1004" // a field is missing, unknown, repeated, of the wrong type or out of range
	CodeBody        = "1005" // the body is not one JSON object in UTF-8, or is over 64 KiB
	CodeMethod      = "1006" // not POST
	CodePath        = "1007" // neither an API path nor an admin path
	CodeQuery       = "1008" // something stands in the query string
	CodeContentType = "1009" // not application/json in UTF-8
	CodeRefused     = "3000" // what a refuse rule without a code answers
	CodeThrottled   = "429"  // over the rate, unless Config.ThrottleCode says otherwise
	CodeBusy        = "5000" // in an oversized answer to an order that was not bought
)

// reply is the envelope of every answer of the API. Code is a string, or a number
// where a rule asks for that; Data is left out when nil.
type reply struct {
	Code    any    `json:"code"`
	Message string `json:"message"`
	Data    any    `json:"data,omitempty"`
}

func success(data any) reply { return reply{Code: CodeSuccess, Message: "success", Data: data} }
