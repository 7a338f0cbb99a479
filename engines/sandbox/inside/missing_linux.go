package inside

// missing lists the layers that tier C does not have.
func missing() []string {
	return []string{LayerCapabilities, LayerCgroup, LayerLandlock, LayerNamespaces, LayerNoNewPrivs, LayerRlimits, LayerSeccomp}
}
