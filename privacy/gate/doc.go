// Package gate stands in front of data and behind results.
//
// In front: a [Permit] comes from a durable reservation in the ledger and from
// nothing else, and reading data takes one. Behind: [Permit.Release] settles
// the charge and then writes the output folder, whole or not at all; it is the
// only code that writes to one. A [Structure] permit opens a table for its
// structure alone (names and types of columns); it feeds no sampler and no
// release.
//
// The order of a job is
//
//	out, err := gate.PrepareOutput(dir)          // before anything is charged
//	permit, err := gate.Reserve(ctx, ledger, request)
//	table, err := datasets.Open(ctx, permit, …)  // calls permit.OpenData
//	…                                            // compute
//	err = gate.Await(ctx, time.Minute, …)        // where its end must not tell how long that took
//	err = permit.Release(ctx, out, event, write) // settle, write, rename
//
// # What the gate promises
//
//   - A folder that Release has put in place was paid for: the settlement is on
//     the disk before the first byte of output is.
//   - At most one output comes of a reservation. A reservation whose data was
//     opened is never given back: [Permit.Void] works only before
//     [Permit.OpenData], and no copy of a reservation can do it.
//   - Whatever ends the process in between (a signal, a full disk, a crash),
//     the output folder is there in whole, with every file on the disk, or not
//     there; the charge stands.
//
// What it does not promise: a folder that something else fills between
// PrepareOutput and Release is left alone, and the job ends in [ErrOutput] with
// its charge. A killed process may leave an owner-only folder .privsgld-…
// beside the output; nothing reads it, and it may be removed.
package gate
