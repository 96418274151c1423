package dedupe

import "strings"

// SubjectToken returns outTradeNo as one token of a NATS subject. Every byte except
// A-Z a-z 0-9 _ - is percent-encoded, so '.', '*', '>', '$' and '%' are safe and two
// numbers never share a subject. The token of the empty number is empty.
//
// Source: https://docs.nats.io/nats-concepts/subjects.
func SubjectToken(outTradeNo string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(outTradeNo) {
		switch c := outTradeNo[i]; {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_', c == '-':
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}
