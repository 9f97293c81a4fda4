//go:build slow

package sgld

import (
	"encoding/binary"
	"testing"
)

func TestPairsLong(t *testing.T) { pairs(t, 100_000) }

// TestKernelsLong compares the kernels on 200,000 blocks or so.
func TestKernelsLong(t *testing.T) {
	if !useAVX2 {
		t.Skip("this machine or build has no vector kernel")
	}
	for i := range 80_000 {
		sameAsGo(t, randomOperands(newWords(binary.LittleEndian.AppendUint32(nil, uint32(i)))))
	}
}
