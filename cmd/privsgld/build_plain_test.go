//go:build !seeded

package main

// buildArgs are what a run needs in this build.
var buildArgs []string
