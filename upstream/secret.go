package upstream

import (
	"fmt"
	"io"
)

const redacted = "[redacted]"

// Secret is the account's signing key. However it is printed, logged or
// encoded, it says [redacted]; string(s) is the only way to the text.
type Secret string

// String says [redacted].
func (Secret) String() string { return redacted }

// GoString says [redacted].
func (Secret) GoString() string { return redacted }

// Format says [redacted], whatever the verb: %x and %q would go past String.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText says [redacted].
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON says "[redacted]".
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
