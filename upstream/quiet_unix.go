//go:build unix

package upstream

import (
	"errors"
	"net"
	"syscall"
)

// canPoll says that quiet can look at a connection on this platform.
const canPoll = true

// quiet reports whether conn is open and the kernel has no unread data of it. A
// connection without a file descriptor counts as quiet.
func quiet(conn net.Conn) bool {
	sys, ok := conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sys.SyscallConn()
	if err != nil {
		return false
	}
	open := false
	err = raw.Control(func(fd uintptr) { // not Read, which obeys the deadline of the last call
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		open = errors.Is(err, syscall.EAGAIN)
	})
	return err == nil && open
}
