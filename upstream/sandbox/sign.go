package sandbox

import (
	"crypto/sha1" // the vendor's choice
	"encoding/hex"
	"maps"
	"slices"
	"strings"
)

// signature returns the vendor's signature of fields: the parameters of a call as they
// are signed (strings unchanged, integers in decimal). It leaves out sign and empty
// values, sorts the rest by name in byte order, joins it as name=value with "&", adds
// "&secret=" and the secret, and returns the SHA-1 as 40 upper-case hex digits.
//
// Source: the vendor's PHP SDK. It shares no code with upstream's on purpose.
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
