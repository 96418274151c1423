package sandbox

// CodeSuccess is the code of a success. Source: upstream/VENDOR.md, "Answers".
const CodeSuccess = "200"

// Codes that the vendor documents. The checks use those of the card and of the
// package; the others come from settings and rules. Source: upstream/VENDOR.md, "Codes".
const (
	CodePermission       = "403"    // account: no permission
	CodeFailed           = "500"    // operation failed, try again later; it does not say that nothing was bought
	CodeThrottled        = "501"    // too many requests; over the rate, unless Config.ThrottleCode says otherwise
	CodeWhitelist        = "502"    // account: source address not on the whitelist
	CodeICCIDEmpty       = "41002"  // iccid empty; which of 41002 and 41003 means what is inferred
	CodeICCIDFormat      = "41003"  // iccid of a wrong format
	CodeCardOperator     = "41008"  // card and operator do not match
	CodePackage          = "41018"  // wrong package code
	CodePackageNotOnCard = "41028"  // the card has no such package
	CodeActivation       = "41029"  // wrong activation type of a package
	CodePackageProduct   = "41050"  // the package's product does not match the card
	CodeBalance          = "45112"  // balance too low; documented for esim/purchase
	CodeDuplicate        = "503016" // duplicate order number, query the order; documented for esim/purchase
)

// Codes of the sandbox's own checks, answered with HTTP 200. They are invented, because
// the vendor does not document its own. A client must not depend on them: for it they
// are in no list.
const (
	CodeSign        = "1001" // sign is wrong, or is not 40 upper-case hex digits
	CodeAppKey      = "1002" // no such appkey
	CodeTimestamp   = "1003" // timestamp too old, or too far in the future
	CodeField       = "1004" // a field is missing, unknown, repeated, of the wrong type or out of range
	CodeBody        = "1005" // the body is not one JSON object in UTF-8, or is over 64 KiB
	CodeMethod      = "1006" // not POST
	CodePath        = "1007" // neither an API path nor an admin path
	CodeQuery       = "1008" // the query string is not empty
	CodeContentType = "1009" // not application/json in UTF-8
	CodeRefused     = "3000" // the answer of a refuse rule without a code
)

// messages has the message of each documented code, for rules without a message.
var messages = map[string]string{
	CodePermission:       "no permission",
	CodeFailed:           "operation failed, try again later",
	CodeThrottled:        "too many requests",
	CodeWhitelist:        "address not on the whitelist",
	CodeICCIDEmpty:       "iccid is empty",
	CodeICCIDFormat:      "wrong format of iccid",
	CodeCardOperator:     "card and operator do not match",
	CodePackage:          "wrong package code",
	CodePackageNotOnCard: "the card has no such package",
	CodeActivation:       "wrong activation type",
	CodePackageProduct:   "the package does not match the card",
	CodeBalance:          "balance too low",
	CodeDuplicate:        "duplicate order number",
}

// reply is the JSON object of every answer of the API. Code is a string, or a number
// if a rule says so. Data is omitted if it is nil.
type reply struct {
	Code    any    `json:"code"`
	Message string `json:"message"`
	Data    any    `json:"data,omitempty"`
}

func success(data any) reply { return reply{Code: CodeSuccess, Message: "success", Data: data} }
