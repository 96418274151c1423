//go:build !linux

package demo

import "syscall"

// childAttributes leaves the child in the terminal's process group, where Ctrl-C ends it.
// Without Linux nothing ends it if this process is killed.
func childAttributes() *syscall.SysProcAttr { return nil }
