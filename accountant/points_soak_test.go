//go:build soak

package accountant_test

// points is how many random cases each family of independent references has.
const points = 10000
