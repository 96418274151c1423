package sandbox

import (
	"crypto/sha1" // the vendor's choice
	"encoding/hex"
	"maps"
	"slices"
	"strings"
)

// signature computes the vendor's signature over fields, which holds every
// parameter of a call in its signed spelling (strings as they are, integers in
// decimal). The sign field and empty values are left out; the rest is sorted by
// name in byte order, joined as name=value with "&", followed by "&secret=" and
// the secret, and hashed with SHA-1 to 40 upper-case hex digits.
//
// Source: the vendor's PHP SDK. It is written apart from upstream's on purpose.
func signature(fields map[string]string, secret string) string {
	var signed strings.Builder
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if name == "sign" || fields[name] == "" {
			continue
		}
		signed.WriteString(name + "=" + fields[name] + "&")
	}
	signed.WriteString("secret=" + secret)
	sum := sha1.Sum([]byte(signed.String()))
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}
