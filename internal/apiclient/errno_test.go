package apiclient_test

import "syscall"

var errRefused = syscall.ECONNREFUSED
