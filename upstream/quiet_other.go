//go:build !unix

package upstream

import "net"

// looks: quiet cannot look at the wire here, so no connection is used twice.
const looks = false

func quiet(net.Conn) bool { return true }
