// Package job holds the order of a run, written once, and is the library call
// for other Go programs: plan, reserve, permit, open, compute, settle, release.
//
// # The guarantee
//
// Theorem. Fix a data set's name, its policy's terms (ε, δ), privacy unit row,
// neighbouring relation and accountant. Let an analyst choose runs one after
// another, also several at a time, each after seeing all earlier releases and
// refusals, and let every run be charged to one ledger in one budget period.
// Then all that the analyst is given, seen as a function of the rows, is
// (ε, δ)-differentially private, under the assumptions that the reports list.
//
// # Proof, in the order of the code
//
//  1. Contribution map. A row enters only through its encoding, a function of
//     the row and of public facts (datasets.Bind; values that are no numbers or
//     no levels go to the policy's default), and through v = Round(c·x) with c its
//     residual over a public scale, |c| at most the row's clip factor, whichever the
//     model: logistic, linear or Poisson. By the proof at privacy.Clip the image
//     of v under the exact map M, which has the scale as a factor, has norm at most
//     C − √d·g. Softmax has a residual for each level but the reference: the image of
//     all Round(c_k·x) has norm at most C − √(nd)·g for ‖c‖ at most the factor, by the
//     same proof, and sgld/softmax.go shows that ‖c‖ is, for every float64. A linear
//     model with a noise scale has one coordinate more: sgld/scale.go shows that the
//     two parts, clipped apart, stay together within C − √D·g. Guarded by
//     TestContributionNorm in privacy, and TestSumSensitivity, TestSoftmaxBounds and
//     TestModelPairs, for every model, in sgld, all in exact rational arithmetic.
//  2. Exact sum. Contributions are integers and their number is below 2³¹, so
//     sums in int64 neither round nor overflow, in any order and with any number
//     of workers; rows that are equal after encoding may be stored once. M is
//     applied in 128-bit integers and rounded once to the lattice gℤᵈ, which
//     moves each of two neighbouring images by at most g/2 a coordinate. So the
//     sums of neighbours under add-remove differ by at most C, under replace-one
//     by at most 2C. Guarded by TestSumSameBits, TestMapIsExact, FuzzSum. The
//     Gram matrix is such a sum with C from gramNorm; a count has sensitivity 1.
//  3. Rounded noise. privacy.Gaussian returns the rounding to the lattice of a
//     real N(0, (zC)²) variate, exactly. Sum and lattice point: the answer is the
//     rounding of the real Gaussian mechanism's answer, post-processing of it.
//     With q < 1 every row joins the batch by a coin of probability exactly q
//     (privacy.Bernoulli), independent of the others and of the noise: the
//     Poisson-subsampled Gaussian mechanism. Guarded by TestTableBound,
//     TestStagesAgree, TestNoiseLaw; TestBernoulliExact, TestSettle,
//     TestSamplerIsAccountedFor, and TestBatchMultiplicity for equal rows. (A
//     count goes through the Google library's Laplace mechanism: pure ε, as
//     documented there.)
//  4. Event. The sampler returns events of what it ran, counted where the noise
//     is drawn (noisySum.draw). Guarded by TestEventsAreWhatRan.
//  5. Post-processing inside a run. Iterates, the metric and the clipping norm
//     are functions of earlier noisy answers, of public facts and of randomness
//     that is independent of the rows (the start of a chain). So each answer is
//     an adaptively chosen mechanism that, given what came before, is of the
//     kind and noise multiplier of its event, whatever metric and C were chosen:
//     multipliers are relative to C. Where a full-batch plan lets the number of
//     steps and the noise multiplier depend on a bought count or Gram matrix, the
//     sum of its costs is bounded by the reserved amount in every branch
//     (TestBoughtPlan, TestPlansStayWithinEpsilon), which is what a filter needs.
//     With q < 1 they are fixed before the first answer. The ε of one run is
//     therefore that of its reservation, not of the branch that ran.
//  6. Filter. gate.Reserve makes one serialisable transaction in the ledger that
//     adds the reserved event's cost to the running total and refuses if the
//     total would pass the filter's limit: Rényi DP at one order fixed at
//     registration (Feldman and Zrnic 2021), or Gaussian DP (Smith and Thakurta
//     2022). Both hold for fully adaptive choice. Refusals are functions of
//     policies, requests and earlier charges, so they tell nothing of the rows.
//     Runs at the same time: each answer of each run is one more mechanism in the
//     one sequence that the filter bounds in every branch, and reservations are
//     counted from before their first answer on, so interleaving changes nothing.
//  7. Nothing before the charge. datasets.Open demands the permit of a durable
//     reservation. What is read earlier is the file's structure (schema and
//     types), compared with the policy's columns, and is assumed public.
//  8. Gate. Settlement replaces the reserved event by what ran, which must cost
//     no more in every filter; otherwise nothing is released and the reservation
//     stands. Only then does privacy/gate put the folder in place, whole or not
//     at all. A run that ends in any other way releases nothing and keeps its
//     charge (killed from outside it may go on, see below); only a run whose data was never opened gives it back, by the gate's
//     own proof. So every released value is covered by a counted event.
//     Guarded by TestKill and TestInterrupt, and by the tests of the two packages.
//  9. What is released. samples.* holds iterates; report.json holds public facts,
//     the ledger's state and functions of the released draws. Messages, exit
//     codes and progress are functions of public facts, of structure, and of
//     those. Entries of the ledger carry nonces, so that the checkpoint in a
//     report confirms no guess of them, and files bear the reservation's time.
//     Exit code 5 after the reservation (a damaged page), an end for want of
//     memory, and running time are functions of the data: the holder sees them,
//     and must not pass them on; with Run.ReleaseAt the end of a run shows at a
//     whole minute or hour only (TestNothingBeforeTheBoundary,
//     TestCompletionTimes). Guarded by TestRehearsalOfNeighbours, with one seed on
//     neighbouring tables, TestRehearsalWithSumsWithheld, where no table shows at
//     all, TestOneRowSteersNothing, TestNoCellIsSeen, TestRefusalsAreBlind and
//     TestFailuresLookAlike.
//
// The name of a data set stands for the rows that its holder registered
// (Register.Do, or a first run on the holder's terminal): after the reservation a run
// compares a keyed fingerprint of what it read, and releases nothing where it
// differs, or where the rows are registered under another name, which would be
// another budget for the same people. Whether it does is a function of the data, like
// exit code 5: for the holder. Guarded by TestScripts/data and by TestLikeness in
// datasets. Where nothing is registered, that is an assumption in the report.
//
// Where the name stands for one version after another, neighbours are histories: of
// an append-only data set two that differ by one row, in all versions from its first
// on; of one that is replaced, two that differ by at most one row in each version. In
// either case an answer is computed from one version, and the versions of two
// neighbours differ by one row at most, so each answer is a mechanism with the event
// that it is charged as, and step 6 bounds all of them together: nothing in the proof
// needs the table to stay the same. That a version of an append-only data set holds
// all rows of the last is checked when it is registered (Fingerprint.Continues,
// TestContinues in datasets); when that is, and how often, is the holder's choice
// and taken as public.
//
// # Predictions
//
// Predict charges and releases nothing. What it computes is a function of released
// draws, which is post-processing, and of rows that are the caller's own: they are
// opened under a structure permit as datasets.Rows, a type that no sampler takes, and
// what is written is for the caller. Whether rows are refused as those of a registered
// data set is a function of the data, for the holder, in whose state folder the key of
// the fingerprints is; at an analyst's nothing is registered. Guarded by
// TestPredictRefusesRegisteredRows and TestScripts/predict. Diagnose reads released
// draws alone; sgld/diagnostics cannot import datasets (TestHouse).
//
// # Renewal
//
// A policy that renews starts a filter anew with each calendar period. A period opens
// with the first reservation in it, after an entry that closes the last one: what is
// then reserved and not settled counts as spent there, and can release nothing any
// more (applyClose, applyEnd; TestTimeAndPeriods). So each release belongs to one
// period, the filter of a period covers all of its releases, whatever earlier ones
// made the analyst ask, and k periods are a sequence of k adaptively chosen
// (ε, δ)-differentially private mechanisms: together they satisfy the k-fold
// composition of (ε, δ), which every report of such a policy states with k. The
// ledger's time never runs backwards, and a clock set forward opens one period, not
// those that it skips.
//
// # Going on after a kill
//
// A run whose predicted time is a minute or more keeps resume points: from just after
// its purchases, and then every so many steps, a number that follows from the plan. A
// point is on the disk before the next step begins. It holds iterates, draws and bought
// answers, which are outputs of charged mechanisms, the count of what ran, public facts
// and the keyed fingerprint of the rows: no generator's state and no row
// (TestPointHoldsNoGenerator). It is sealed under a key of the state folder, and lasts
// seven days (TestHold). Resume.Do goes on from it, under the same reservation. Claim: all
// that the analyst is given stays within the filter's guarantee. Proof:
//
//  1. Of a run that was killed nothing was released (step 8), and the gate settles a
//     reservation once, for the newest attempt alone: one output at most
//     (TestKilledRunGoesOn, TestAgain).
//  2. Take all answers of all attempts. Up to the last point they are among those that the
//     reservation charges, and so are those that come after the last attempt's point.
//     Those that an attempt drew between its point and its kill are drawn again, with noise
//     of other streams (the attempt is part of their key: step 3 holds for each,
//     TestAttemptsHaveStreamsOfTheirOwn); they reach at most to the next point. The ledger
//     charges all steps up to there once more, in an entry of its own for the same
//     accounts, before the attempt reads a row (TestAgainCoversWhatRan). So every answer is
//     charged, and a filter bounds all of them in any order of charges (step 6).
//  3. The events of a charge are fixed by the plan and by the point's number. That there
//     is such a charge, and when, depends on the kill. If whether and when the process is
//     killed from outside does not depend on the data, given the answers so far, the
//     choice is one that an analyst could have made, and step 6 is about those. This is an
//     assumption, and the report of such a run says so. A run that ended by itself could
//     have ended for its data, so it leaves no point: on any return, panic or interrupt it
//     is removed, and what the Go runtime writes before it dies (out of memory, say) goes
//     to a mark beside it that forbids to go on (TestEndedRunNeverGoesOn). What a step
//     needs is allocated before the first point, and only draws, of public size, are
//     added. A kill by the operating
//     system for want of memory after it, by a limit on time or by a person who looks on
//     are held not to depend on the data.
//  4. The same rows are read: their keyed fingerprint is compared, and otherwise the
//     attempt ends. Policy, plan and settings are the same, or nothing is charged. The
//     draws are those of a chain whose generator was switched at the point
//     (TestResumedRun).
//
// Also assumed: the state folder is not set back to an earlier copy of itself, and its
// files' locks and fsync do what they should; where the system has no locks there are no
// points. Nor does a run with a boundary keep any: they would tell its pace. A run with a bought count has points only where its plan before the count is
// long. A job's own cap, and a signed request, hold with what is done again
// (Resume.Do refuses otherwise); the ε that a run was asked for is passed by that.
//
// # Which units there are
//
// The privacy unit is the row; policies with entities as units are refused before any
// reservation.
//
// # Amendments
//
// The owner of a data set may raise its budget in the ledger (ledger.Amend). An
// amendment keeps unit, neighbouring relation, accountant, renewal and the orders of
// all filters; ε, δ, the shares of them and what is beside these do not fall, so that
// no limit does, at a fixed order. Let (ε*, δ*) be terms, with their shares, that no
// amendment exceeds in any of these parts. Then at every moment the running totals are
// within the limits of (ε*, δ*): a filter with those limits would have admitted
// everything, and by step 6 all releases together, before the amendments and after,
// are (ε*, δ*)-differentially private. An owner who amends after seeing releases makes
// the newest terms themselves a function of them: (ε*, δ*) is then what the owner
// would ever have granted, which the reports list among their assumptions. Nothing
// smaller holds for what was released before. Guarded by TestAmendmentKeeps and
// TestAmendedFilter, and, for what else a policy promises, by TestLooserPolicy. Where
// an owner declares that two data sets may hold the same rows, their budgets add up.
package job
