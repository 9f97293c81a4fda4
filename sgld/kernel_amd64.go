//go:build amd64 && !purego

package sgld

import "golang.org/x/sys/cpu"

//go:generate sh -c "cd internal/kernelgen && go run . -out ../../kernel_amd64.s -stubs ../../kernel_stubs_amd64.go -pkg sgld"

// useAVX2 says whether this machine runs the vector kernel.
var useAVX2 = cpu.X86.HasAVX2 && cpu.X86.HasFMA

// addBlocksVector calls the assembly, which knows no lengths but these.
func addBlocksVector(o *operands) {
	o.check()
	if len(o.bound) == 0 {
		return
	}
	var x, table *float64
	var code *uint16
	var entries *int64
	if o.numbers > 0 {
		x = &o.x[0]
	}
	if o.joints > 0 {
		table, code, entries = &o.table[0], &o.code[0], &o.entries[0]
	}
	addBlocksAVX2(x, code, &o.bound[0], &o.weight[0], len(o.bound)/lanes, o.numbers, o.joints,
		&o.theta[0], table, &o.sums[0], entries)
}
