package connect

import "testing"

func TestInboxPrefix(t *testing.T) {
	for servers, want := range map[string]string{
		"nats://ann:secret@127.0.0.1:4222":                    "_INBOX_ann",
		" nats://ann:secret@a:4222 , nats://bob:secret@b:1":   "_INBOX_ann",
		"nats://token@127.0.0.1:4222":                         "",
		"nats://:secret@127.0.0.1:4222":                       "",
		"nats://127.0.0.1:4222":                               "",
		"nats://127.0.0.1:4222,nats://bob:secret@127.0.0.1:1": "",
		"%": "",
	} {
		if got := InboxPrefix(servers); got != want {
			t.Errorf("%q: %q, want %q", servers, got, want)
		}
	}
}
