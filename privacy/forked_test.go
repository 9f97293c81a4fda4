package privacy

import (
	"bytes"
	"fmt"
	"testing"
)

// TestForkedMachine is threat L17: a copy of a machine goes on with the same state of the
// operating system's generator. Streams of one seed under labels that differ in one thing
// (the reservation, its entry, its time, the attempt or the use) share no word at its
// place in 10⁶, where chance makes one with probability 5·10⁻¹⁴. The control: one label
// gives the same words, as every label would if the key left it out.
func TestForkedMachine(t *testing.T) {
	const words = 1_000_000
	seed := bytes.Repeat([]byte{7}, 32)
	with := func(label string) *stream { return newStream(deriveKey(bytes.Clone(seed), label)) }
	common := func(a, b *stream) (equal, bits int) {
		for range words {
			x := a.next() ^ b.next()
			if x == 0 {
				equal++
			}
			for ; x != 0; x &= x - 1 {
				bits++
			}
		}
		return equal, 64*words - bits
	}
	label := func(run string, entry int, at string, use string) string {
		return fmt.Sprintf("%s/%d/%s/%s", run, entry, at, use)
	}
	first := label("00112233aabbccdd", 12, "2026-11-24T12:00:00Z", "steps")
	for what, other := range map[string]string{
		"run":   label("00112233aabbccde", 12, "2026-11-24T12:00:00Z", "steps"),
		"entry": label("00112233aabbccdd", 13, "2026-11-24T12:00:00Z", "steps"),
		"time":  label("00112233aabbccdd", 12, "2026-11-24T12:00:01Z", "steps"),
		"use":   label("00112233aabbccdd", 12, "2026-11-24T12:00:00Z", "start"),
	} {
		// Of 6.4·10⁷ bits half agree, give or take 4000; 6 of these deviations happen
		// with probability 2·10⁻⁹.
		equal, bits := common(with(first), with(other))
		if off := bits - 32*words; equal > 0 || off > 24_000 || off < -24_000 {
			t.Errorf("another %s: %d of %d words are equal, %d bits too many agree", what, equal, words, off)
		}
	}
	if equal, _ := common(with(first), with(first)); equal != words {
		t.Errorf("one label, one seed: %d of %d words are equal: the test sees nothing", equal, words)
	}
}
