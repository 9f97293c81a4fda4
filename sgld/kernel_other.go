//go:build !amd64 || purego

package sgld

// useAVX2 is false: this build has the portable kernel only.
const useAVX2 = false

func addBlocksVector(*operands) { panic("sgld: no vector kernel in this build") }
