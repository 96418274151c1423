package upstream

import (
	"crypto/sha1"
	"maps"
	"slices"
)

// Sign returns the vendor's signature of params, 40 upper-case hex digits: the SHA-1
// of all parameters but "sign" and the empty ones, sorted by name in ASCII byte
// order, joined as name=value with &, and followed by &secret=SECRET.
//
// The values must be formatted as they are signed: integers in decimal, booleans as
// 1 or 0, strings unchanged.
//
// Source: upstream/VENDOR.md, "Signing" and "Value formatting".
func Sign(params map[string]string, secret Secret) string {
	var text []byte
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if value := params[name]; name != "sign" && value != "" {
			text = append(text, name...)
			text = append(text, '=')
			text = append(text, value...)
			text = append(text, '&')
		}
	}
	sign := signature(text, secret)
	return string(sign[:])
}

// signLen is the length of a signature.
const signLen = 2 * sha1.Size

// signature signs text, which is name=value& for each parameter, sorted by name.
func signature(text []byte, secret Secret) (sign [signLen]byte) {
	text = append(text, "secret="...)
	text = append(text, secret...)
	const digits = "0123456789ABCDEF"
	for i, b := range sha1.Sum(text) {
		sign[2*i], sign[2*i+1] = digits[b>>4], digits[b&15]
	}
	return sign
}
