//go:build soak

package main

// kills is the number of runs that TestKill kills.
const kills = 1000

// fertilityRuns is the number of runs that are compared with the posterior.
const fertilityRuns = 5

// cellRows is the number of rows whose cells TestOneRowSteersNothing sets.
const cellRows = 50

// faultStride is how many calls of the system TestFaultAtEveryCall goes on at a time.
const faultStride = 1

// faultRounds is how often it begins anew: threads take calls in another order.
const faultRounds = 4

// markedFaults is how often TestNoCellIsSeen looks.
const markedFaults = 540

// powerCuts is half the number of power cuts of TestPowerCut.
const powerCuts = 260

// killsPostgres is the number of runs that TestKillOnPostgres kills, or their server.
const killsPostgres = 100

// pointKills is how often TestKilledRunGoesOn kills a process.
const pointKills = 1000
