//go:build !linux

package inside

// missing lists the layers that tier C does not have; on this system no other tier
// exists.
func missing() []string {
	return []string{LayerCapabilities, LayerCgroup, LayerLandlock, LayerNamespaces, LayerNoNewPrivs, "process_tree", LayerRlimits, LayerSeccomp}
}
