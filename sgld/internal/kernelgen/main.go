// Command kernelgen writes the AVX2 kernel of package sgld, the twin of
// addBlocksGo. It is a module of its own, so that the generator is no
// dependency of the program. After a change here: go generate ./sgld.
//
// A block has sixteen units. In the comments below, vector k (k < 4) holds the
// units 4k … 4k+3 of a block.
package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

const (
	lanes       = 16
	vectors     = lanes / 4
	entryCopies = 4
	magic       = 3 << 51
	lattice     = 3 << 21
)

// constants are stored four times each, as operands of vector instructions.
var constants = map[string]Mem{}

func declareConstants() {
	data := GLOBL("kernelConstants", RODATA|NOPTR)
	at := 0
	put := func(name string, bits uint64) {
		constants[name] = data.Offset(at)
		for range 4 {
			DATA(at, U64(bits))
			at += 8
		}
	}
	float := func(name string, v float64) { put(name, math.Float64bits(v)) }
	put("sign", 1<<63)
	float("one", 1)
	float("magic", magic)
	float("lattice", lattice)
	float("most", 708)
	float("least", -708)
	float("log2e", 0x1.71547652b82fep+0)
	float("log2", 0x1.62e42fefa39efp-1)
	float("exp2", 0x1.000000005ddb2p-1)
	float("exp3", 0x1.5555557dccf06p-3)
	float("exp4", 0x1.5555541e8130cp-5)
	float("exp5", 0x1.1110a26ac657ap-7)
	float("exp6", 0x1.6c18d2f963f7ap-10)
	float("exp7", 0x1.a1854d4f619b9p-13)
	float("exp8", 0x1.9e894b6ec4812p-16)
}

func load(name string) VecVirtual {
	v := YMM()
	VMOVUPD(constants[name], v)
	return v
}

// times returns a·b in a new register.
func times(a Op, b Op) VecVirtual {
	v := YMM()
	VMULPD(a, b, v)
	return v
}

// all emits one instruction, or a few, for every vector: the four chains of
// operations are interleaved, since each by itself would wait for its results.
func all(emit func(k int)) {
	for k := range vectors {
		emit(k)
	}
}

// residuals replaces each u by clippedResidual(±u, bound), where the sign of the
// weight turns u. Four registers a vector are all that there are, so what is
// needed at the end waits in memory: the exponents in n. NaN counts as the least
// argument, whose residual of e^−708 is no step of the lattice.
func residuals(u *[vectors]VecVirtual, bound, weight Register, n Mem) {
	var s, r2, even, odd [vectors]VecVirtual
	sign := load("sign")
	all(func(k int) {
		v := YMM()
		VANDPD(Mem{Base: weight, Disp: 32 * k}, sign, v)
		VXORPD(v, u[k], u[k])
	})
	// Of two operands of which one is NaN, VMAXPD here gives its first.
	all(func(k int) { VMAXPD(constants["least"], u[k], u[k]) })
	all(func(k int) { VMINPD(constants["most"], u[k], u[k]) })
	all(func(k int) { s[k] = load("magic") })
	all(func(k int) { VFNMADD231PD(constants["log2e"], u[k], s[k]) })
	all(func(k int) {
		v := YMM()
		VPSLLQ(U8(52), s[k], v)
		VMOVDQU(v, n.Offset(32*k))
		VSUBPD(constants["magic"], s[k], s[k])
	})
	r := u
	all(func(k int) { VFNMSUB231PD(constants["log2"], s[k], r[k]) })
	all(func(k int) { r2[k] = times(r[k], r[k]) })
	all(func(k int) { even[k] = load("exp6") })
	all(func(k int) { VFMADD231PD(constants["exp8"], r2[k], even[k]) })
	all(func(k int) { odd[k] = load("exp5") })
	all(func(k int) { VFMADD231PD(constants["exp7"], r2[k], odd[k]) })
	all(func(k int) { VFMADD213PD(constants["exp4"], r2[k], even[k]) })
	all(func(k int) { VFMADD213PD(constants["exp3"], r2[k], odd[k]) })
	all(func(k int) { VFMADD213PD(constants["exp2"], r2[k], even[k]) })
	q := odd
	all(func(k int) { VFMADD213PD(even[k], r[k], q[k]) })
	all(func(k int) { VFMADD213PD(r[k], r2[k], q[k]) })
	one := load("one")
	all(func(k int) { VADDPD(one, q[k], q[k]) })
	all(func(k int) { VPADDQ(n.Offset(32*k), q[k], q[k]) }) // e^−u
	all(func(k int) { VADDPD(one, q[k], q[k]) })
	all(func(k int) {
		VDIVPD(q[k], one, u[k])
		VMINPD(Mem{Base: bound, Disp: 32 * k}, u[k], u[k])
	})
}

func main() {
	ConstraintExpr("amd64,!purego")
	declareConstants()

	TEXT("addBlocksAVX2", NOSPLIT, "func(x *float64, code *uint16, bound *float64, weight *int64, blocks, numbers, joints int, theta, table *float64, sums, entries *int64)")
	Doc("addBlocksAVX2 is addBlocksGo for blocks ≥ 1.")
	Pragma("noescape")
	x := Load(Param("x"), GP64())
	code := Load(Param("code"), GP64())
	bound := Load(Param("bound"), GP64())
	weight := Load(Param("weight"), GP64())
	blocks := Load(Param("blocks"), GP64())
	theta := Load(Param("theta"), GP64())
	table := Load(Param("table"), GP64())
	sums := Load(Param("sums"), GP64())
	entries := Load(Param("entries"), GP64())
	whole := AllocLocal(8 * lanes)

	Label("block")

	Comment("u = θ₀ + Σ numbers")
	var u [vectors]VecVirtual
	for k := range u {
		u[k] = YMM()
		VBROADCASTSD(Mem{Base: theta}, u[k])
	}
	left := Load(Param("numbers"), GP64())
	at, coefficient := GP64(), GP64()
	MOVQ(x, at)
	MOVQ(theta, coefficient)
	TESTQ(left, left)
	JZ(LabelRef("codes"))
	Label("dot")
	t := YMM()
	VBROADCASTSD(Mem{Base: coefficient, Disp: 8}, t)
	for k := range u {
		p := times(Mem{Base: at, Disp: 32 * k}, t)
		VADDPD(p, u[k], u[k])
	}
	ADDQ(U32(8*lanes), at)
	ADDQ(U8(8), coefficient)
	DECQ(left)
	JNZ(LabelRef("dot"))

	Comment("u += Σ entries")
	Label("codes")
	left = Load(Param("joints"), GP64())
	codes := GP64()
	MOVQ(code, codes)
	TESTQ(left, left)
	JZ(LabelRef("residual"))
	// The allocator takes the upper half of a register that is written by VMOVSD
	// as in use from the last time that it was written whole: here.
	v := YMM()
	VXORPD(v, v, v)
	Label("gather")
	half := [2]VecVirtual{v.AsX().(VecVirtual), XMM()}
	for k := range u {
		for h := range half {
			a, b := GP64(), GP64()
			MOVWQZX(Mem{Base: codes, Disp: 8*k + 4*h}, a)
			MOVWQZX(Mem{Base: codes, Disp: 8*k + 4*h + 2}, b)
			VMOVSD(Mem{Base: table, Index: a, Scale: 8}, half[h])
			VMOVHPD(Mem{Base: table, Index: b, Scale: 8}, half[h], half[h])
		}
		VINSERTF128(U8(1), half[1], v, v)
		VADDPD(v, u[k], u[k])
	}
	ADDQ(U8(2*lanes), codes)
	DECQ(left)
	JNZ(LabelRef("gather"))

	Label("residual")
	residuals(&u, bound, weight, whole)

	Comment("intercept")
	var m [vectors]VecVirtual
	total := YMM()
	VMOVDQU(Mem{Base: sums}, total)
	shift := load("lattice")
	for k := range m {
		m[k] = YMM()
		VMOVDQU(Mem{Base: weight, Disp: 32 * k}, m[k])
		v := YMM()
		VADDPD(shift, u[k], v)
		VPMULDQ(m[k], v, v)
		VMOVDQU(v, whole.Offset(32*k))
		VPADDQ(v, total, total)
	}
	VMOVDQU(total, Mem{Base: sums})

	Comment("numbers")
	left = Load(Param("numbers"), GP64())
	ahead := GP64() // bytes of the numbers of a block
	MOVQ(left, ahead)
	SHLQ(U8(7), ahead)
	into := GP64()
	MOVQ(sums, into)
	TESTQ(left, left)
	JZ(LabelRef("scatters"))
	Label("add")
	// This block's numbers are in the cache: memory is free to send the next ones.
	PREFETCHT0(Mem{Base: x, Index: ahead, Scale: 1})
	PREFETCHT0(Mem{Base: x, Index: ahead, Scale: 1, Disp: 64})
	var p [vectors]VecVirtual
	for k := range p {
		p[k] = times(Mem{Base: x, Disp: 32 * k}, u[k])
		VADDPD(shift, p[k], p[k])
		VPMULDQ(m[k], p[k], p[k])
	}
	VPADDQ(p[1], p[0], p[0])
	VPADDQ(p[3], p[2], p[2])
	VPADDQ(Mem{Base: into, Disp: 32}, p[0], p[0])
	VPADDQ(p[2], p[0], p[0])
	VMOVDQU(p[0], Mem{Base: into, Disp: 32})
	ADDQ(U32(8*lanes), x)
	ADDQ(U8(32), into)
	DECQ(left)
	JNZ(LabelRef("add"))

	Comment("entries")
	Label("scatters")
	left = Load(Param("joints"), GP64())
	TESTQ(left, left)
	JZ(LabelRef("next"))
	Label("scatter")
	for l := range lanes {
		a, s := GP64(), GP64()
		MOVWQZX(Mem{Base: code, Disp: 2 * l}, a)
		MOVQ(whole.Offset(8*l), s)
		SHLQ(U8(2), a)
		ADDQ(s, Mem{Base: entries, Index: a, Scale: 8, Disp: 8 * (l % entryCopies)})
	}
	ADDQ(U8(2*lanes), code)
	DECQ(left)
	JNZ(LabelRef("scatter"))

	Label("next")
	ADDQ(U32(8*lanes), bound)
	ADDQ(U32(8*lanes), weight)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
	Generate()
}
