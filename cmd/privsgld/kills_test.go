//go:build !slow && !soak

package main

// kills is the number of runs that TestKill kills.
const kills = 20

// cellRows is the number of rows whose cells TestOneRowSteersNothing sets.
const cellRows = 1

// faultStride is how many calls of the system TestFaultAtEveryCall goes on at a time.
const faultStride = 25

// faultRounds is how often it begins anew: threads take calls in another order.
const faultRounds = 1

// markedFaults is how often TestNoCellIsSeen looks.
const markedFaults = 27

// powerCuts is half the number of power cuts of TestPowerCut.
const powerCuts = 6

// killsPostgres is the number of runs that TestKillOnPostgres kills, or their server.
const killsPostgres = 4

// pointKills is how often TestKilledRunGoesOn kills a process.
const pointKills = 4
