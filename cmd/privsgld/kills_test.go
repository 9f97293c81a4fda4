//go:build !slow && !soak

package main

// kills is the number of runs that TestKill kills.
const kills = 20
