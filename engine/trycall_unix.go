//go:build unix && !linux

package engine

import "syscall"

func tryRead(fd int, p []byte) (int, error) { return syscall.Read(fd, p) }

func tryWrite(fd int, p []byte) (int, error) { return syscall.Write(fd, p) }
