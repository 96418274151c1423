package demo

import "syscall"

// childAttributes has the kernel kill the child when this process ends, however that
// is. The child has a process group of its own, because Ctrl-C must reach it once only,
// as the signal of this process.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
