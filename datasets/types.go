package datasets

import (
	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/float16"
)

// class groups Arrow's types by what a policy can say about them.
type class int

// The classes, in the order of their words in classWords.
const (
	classText class = iota
	classInteger
	classFloating
	classDecimal
	classBoolean
	classNull // a column without any value
	classTime
	classNested
	classOther
	classCount
)

// classWords names each class for an error.
var classWords = [classCount]string{
	"text", "integers", "floating-point numbers", "decimals", "booleans", "nulls only",
	"dates or times", "nested values", "a type without a meaning here",
}

// classOf returns a type's class; a dictionary has that of its values.
func classOf(t arrow.DataType) class {
	switch t.ID() {
	case arrow.STRING, arrow.LARGE_STRING, arrow.BINARY, arrow.LARGE_BINARY:
		// Binary without a text annotation is how older writers store text.
		return classText
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64,
		arrow.UINT8, arrow.UINT16, arrow.UINT32, arrow.UINT64:
		return classInteger
	case arrow.FLOAT16, arrow.FLOAT32, arrow.FLOAT64:
		return classFloating
	case arrow.DECIMAL128, arrow.DECIMAL256:
		return classDecimal
	case arrow.BOOL:
		return classBoolean
	case arrow.NULL:
		return classNull
	case arrow.DATE32, arrow.DATE64, arrow.TIME32, arrow.TIME64, arrow.TIMESTAMP, arrow.DURATION,
		arrow.INTERVAL_MONTHS, arrow.INTERVAL_DAY_TIME, arrow.INTERVAL_MONTH_DAY_NANO:
		return classTime
	case arrow.DICTIONARY:
		values := t.(*arrow.DictionaryType).ValueType
		if values.ID() == arrow.DICTIONARY {
			return classOther
		}
		return classOf(values)
	case arrow.LIST, arrow.LARGE_LIST, arrow.LIST_VIEW, arrow.LARGE_LIST_VIEW, arrow.FIXED_SIZE_LIST,
		arrow.STRUCT, arrow.MAP, arrow.SPARSE_UNION, arrow.DENSE_UNION:
		return classNested
	}
	return classOther
}

// binds says whether a file column of this class can be read as the policy's
// type without loss.
func (c class) binds(policyType string) bool {
	switch policyType {
	case typeNumber, typeInteger:
		return c == classInteger || c == classFloating || c == classDecimal || c == classNull
	case typeBoolean:
		return c == classBoolean || c == classInteger || c == classText || c == classNull
	case typeCategory:
		return c == classText || c == classInteger || c == classBoolean || c == classNull
	}
	return false
}

// encode appends every element of an array whose class binds to the column.
func (c *column) encode(values arrow.Array) error {
	switch a := values.(type) {
	case *array.String:
		each(c, a, a.Value, c.string)
	case *array.LargeString:
		each(c, a, a.Value, c.string)
	case *array.Binary:
		each(c, a, a.ValueString, c.string)
	case *array.LargeBinary:
		each(c, a, a.ValueString, c.string)
	case *array.Int8:
		integers(c, a, a.Value)
	case *array.Int16:
		integers(c, a, a.Value)
	case *array.Int32:
		integers(c, a, a.Value)
	case *array.Int64:
		integers(c, a, a.Value)
	case *array.Uint8:
		integers(c, a, a.Value)
	case *array.Uint16:
		integers(c, a, a.Value)
	case *array.Uint32:
		integers(c, a, a.Value)
	case *array.Uint64:
		each(c, a, a.Value, c.unsigned)
	case *array.Float16:
		each(c, a, a.Value, func(x float16.Num) { c.number(float64(x.Float32())) })
	case *array.Float32:
		each(c, a, a.Value, func(x float32) { c.number(float64(x)) })
	case *array.Float64:
		each(c, a, a.Value, c.number)
	case *array.Decimal128:
		scale := a.DataType().(*arrow.Decimal128Type).Scale
		each(c, a, func(i int) float64 { return a.Value(i).ToFloat64(scale) }, c.number)
	case *array.Decimal256:
		scale := a.DataType().(*arrow.Decimal256Type).Scale
		each(c, a, func(i int) float64 { return a.Value(i).ToFloat64(scale) }, c.number)
	case *array.Boolean:
		each(c, a, a.Value, c.truth)
	case *array.Null:
		for range a.Len() {
			c.invalid()
		}
	case *array.Dictionary:
		return c.dictionary(a)
	default:
		return verdict{Kind: kindDamaged}
	}
	return nil
}

// each appends value(i) through add for every valid element, and the default
// for every null.
func each[V any](c *column, a arrow.Array, value func(int) V, add func(V)) {
	for i := range a.Len() {
		if a.IsNull(i) {
			c.invalid()
		} else {
			add(value(i))
		}
	}
}

func integers[V int8 | int16 | int32 | int64 | uint8 | uint16 | uint32](c *column, a arrow.Array, value func(int) V) {
	each(c, a, value, func(v V) { c.integer(int64(v)) })
}

// dictionary encodes each distinct value once, and again only when another
// dictionary comes, and then gathers. The library does not check an index; this
// does.
func (c *column) dictionary(a *array.Dictionary) error {
	if c.distinct == nil || c.dictionaryOf != a.Data().Dictionary() {
		c.dictionaryOf, c.distinct = a.Data().Dictionary(), newColumn(c.columnSpec)
		if err := c.distinct.encode(a.Dictionary()); err != nil {
			return err
		}
	}
	distinct := c.distinct
	for i := range a.Len() {
		if a.IsNull(i) {
			c.invalid()
			continue
		}
		at := a.GetValueIndex(i)
		if at < 0 || at >= distinct.len() {
			return verdict{Kind: kindDamaged}
		}
		switch {
		case c.isNumber():
			c.floats = append(c.floats, distinct.floats[at])
		case c.Target:
			c.bits = append(c.bits, distinct.bits[at])
		default:
			c.codes = append(c.codes, distinct.codes[at])
		}
	}
	return nil
}
