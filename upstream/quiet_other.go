//go:build !unix

package upstream

import "net"

// quiet cannot look here.
func quiet(net.Conn) bool { return true }
