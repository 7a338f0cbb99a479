package main

import "math"

// Floating point gives the same bits everywhere if each operation is rounded by
// itself. Go may fuse x*y+z into one operation where the processor can, unless
// the product is converted explicitly, and math.Exp is written in assembly for
// some processors. So products are written mul(x, y), and exp is made here of
// sums and products. Halves and 1024ths are exact, fused or not, and math.Sqrt is
// exact by IEEE 754.

// mul multiplies and rounds.
func mul(x, y float64) float64 { return float64(x * y) }

// exp is e to the power of x for |x| <= 40: a short series for x/1024, squared
// ten times.
func exp(x float64) float64 {
	z := x / 1024
	z2 := mul(z, z)
	y := 1 + z + z2/2 + mul(z2, z)/6 + mul(z2, z2)/24
	for range 10 {
		y = mul(y, y)
	}
	return y
}

// sigmoid maps a logit to a probability.
func sigmoid(x float64) float64 {
	x = math.Max(-40, math.Min(40, x))
	return 1 / (1 + exp(-x))
}

// random is SplitMix64: a few lines that no release of Go can change.
type random uint64

func (r *random) next(n int) int {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	return int(z % uint64(n))
}

// shuffle puts the numbers 0 to n-1 in a random order.
func (r *random) shuffle(n int) []int {
	order := make([]int, n)
	for i := range order {
		j := r.next(i + 1)
		order[i] = order[j]
		order[j] = i
	}
	return order
}
