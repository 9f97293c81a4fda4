//go:build slow && !soak

package main

// kills is the number of runs that TestKill kills.
const kills = 150

// fertilityRuns is the number of runs that are compared with the posterior.
const fertilityRuns = 2

// cellRows is the number of rows whose cells TestOneRowSteersNothing sets.
const cellRows = 3

// faultStride is how many calls of the system TestFaultAtEveryCall goes on at a time.
const faultStride = 6

// faultRounds is how often it begins anew: threads take calls in another order.
const faultRounds = 1

// markedFaults is how often TestNoCellIsSeen looks.
const markedFaults = 108

// powerCuts is half the number of power cuts of TestPowerCut.
const powerCuts = 40

// killsPostgres is the number of runs that TestKillOnPostgres kills, or their server.
const killsPostgres = 20

// pointKills is how often TestKilledRunGoesOn kills a process.
const pointKills = 30
