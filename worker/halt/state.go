package halt

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// State is an operator's word about the sending of orders, as the bucket stores it. The
// zero State means that nobody has ever said anything: orders are sent.
type State struct {
	Paused bool      `json:"paused"`
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by,omitempty"`   // who said it
	At     time.Time `json:"at,omitzero"`    // when
	Until  time.Time `json:"until,omitzero"` // when a pause ends by itself; zero: it does not
}

// ErrUnreadable is returned for a stored word that is not one.
var ErrUnreadable = errors.New("not an operator's word")

// Lasts reports whether s is a pause that lasts at now.
func (s State) Lasts(now time.Time) bool {
	return s.Paused && (s.Until.IsZero() || now.Before(s.Until))
}

// Encode returns s as the bucket stores it.
func (s State) Encode() ([]byte, error) { return json.Marshal(s) }

// Decode parses what Encode returned. Anything else is ErrUnreadable: nobody knows what
// an operator wanted to say with it. Unknown fields are ignored.
func Decode(data []byte) (State, error) {
	var s struct {
		State
		Paused *bool `json:"paused"`
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return State{}, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if s.Paused == nil {
		return State{}, fmt.Errorf("%w: it has no field \"paused\"", ErrUnreadable)
	}
	s.State.Paused = *s.Paused
	return s.State, nil
}
