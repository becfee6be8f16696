//! The choice among simulcast encodings.

use crate::forward::{LayerIndex, LayerPreference};

/// What is known of one encoding at the moment of choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerState {
    /// Its packets arrive.
    pub flowing: bool,
    /// Width and height in pixels, once a keyframe told.
    pub size: Option<(u16, u16)>,
    /// As observed, in bit/s; 0 before a measurement.
    pub bitrate_bps: u64,
}

/// Layers of unknown size are told apart by their bitrate, which breathes: a rival has to be this many times (in eighths)
/// as fat as the current layer before it counts as the better picture.
const RIVAL_EIGHTHS: u64 = 12;

/// The best flowing layer within `preference` and `estimate_bps` (`None`: nobody measured the line), or the smallest
/// flowing one if none is within. `None`: paused, or nothing flows.
///
/// The order of the layers says nothing: senders list their RIDs as they like. Size decides, then bitrate; `current` wins
/// ties, so that nobody is switched for nothing.
pub fn choose_layer(
    layers: impl Iterator<Item = LayerState> + Clone,
    current: Option<LayerIndex>,
    preference: LayerPreference,
    estimate_bps: Option<u64>,
) -> Option<LayerIndex> {
    if preference.paused {
        return None;
    }
    let flowing = || {
        layers
            .clone()
            .zip(0u8..)
            .filter(|(layer, _)| layer.flowing)
            .map(|(layer, i)| (LayerIndex(i), layer))
    };
    let sized = flowing().all(|(_, layer)| layer.size.is_some());
    let rank = |index: LayerIndex, layer: &LayerState| {
        let pixels = layer
            .size
            .filter(|_| sized)
            .map_or(0, |(width, height)| u32::from(width) * u32::from(height));
        let held = current == Some(index);
        let bitrate = if held {
            layer.bitrate_bps.saturating_mul(RIVAL_EIGHTHS) / 8
        } else {
            layer.bitrate_bps
        };
        // a lower index only makes the order total
        (pixels, bitrate, held, u8::MAX - index.0)
    };
    let within = |layer: &LayerState| {
        let low_enough = preference
            .max_height
            .is_none_or(|max| layer.size.is_some_and(|(_, height)| height <= max));
        low_enough && estimate_bps.is_none_or(|estimate| layer.bitrate_bps <= estimate)
    };
    flowing()
        .filter(|(_, layer)| within(layer))
        .max_by_key(|(index, layer)| rank(*index, layer))
        .or_else(|| flowing().min_by_key(|(index, layer)| rank(*index, layer)))
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(size: Option<(u16, u16)>, bitrate_bps: u64) -> LayerState {
        LayerState {
            flowing: true,
            size,
            bitrate_bps,
        }
    }

    fn three() -> Vec<LayerState> {
        vec![
            layer(Some((320, 180)), 150_000),
            layer(Some((1280, 720)), 1_500_000),
            layer(Some((640, 360)), 500_000),
        ]
    }

    fn choose(
        layers: &[LayerState],
        current: Option<u8>,
        max_height: Option<u16>,
        estimate: Option<u64>,
    ) -> Option<u8> {
        let preference = LayerPreference {
            max_height,
            paused: false,
        };
        choose_layer(layers.iter().copied(), current.map(LayerIndex), preference, estimate).map(|layer| layer.0)
    }

    #[test]
    fn size_decides_and_not_the_order_of_the_offer() {
        assert_eq!(choose(&three(), None, None, None), Some(1));
        assert_eq!(choose(&three(), None, Some(360), None), Some(2));
        assert_eq!(choose(&three(), None, Some(719), None), Some(2));
        assert_eq!(choose(&three(), None, Some(180), None), Some(0));
    }

    #[test]
    fn nothing_small_enough_means_the_smallest() {
        assert_eq!(choose(&three(), None, Some(90), None), Some(0));
        assert_eq!(choose(&three(), None, None, Some(1)), Some(0));
    }

    #[test]
    fn an_estimate_bounds_the_bitrate() {
        assert_eq!(choose(&three(), None, None, Some(1_000_000)), Some(2));
        assert_eq!(choose(&three(), None, Some(180), Some(1_000_000)), Some(0));
    }

    #[test]
    fn what_does_not_flow_is_not_chosen() {
        let mut layers = three();
        layers[1].flowing = false;
        assert_eq!(choose(&layers, Some(1), None, None), Some(2));
        layers.iter_mut().for_each(|layer| layer.flowing = false);
        assert_eq!(choose(&layers, Some(1), None, None), None);
    }

    #[test]
    fn paused_is_nothing() {
        let preference = LayerPreference {
            max_height: None,
            paused: true,
        };
        assert_eq!(
            choose_layer(three().into_iter(), Some(LayerIndex(0)), preference, None),
            None
        );
    }

    #[test]
    fn layers_of_unknown_size_are_told_apart_by_bitrate_without_flapping() {
        let layers = [layer(None, 500_000), layer(None, 550_000)];
        assert_eq!(choose(&layers, None, None, None), Some(1));
        assert_eq!(choose(&layers, Some(0), None, None), Some(0), "the difference is noise");
        assert_eq!(
            choose(&[layer(None, 500_000), layer(None, 1_500_000)], Some(0), None, None),
            Some(1)
        );
        // one unknown size is enough to make sizes incomparable
        assert_eq!(
            choose(
                &[layer(Some((1280, 720)), 100_000), layer(None, 900_000)],
                None,
                None,
                None
            ),
            Some(1)
        );
    }

    #[test]
    fn a_limit_is_kept_where_no_size_is_known() {
        assert_eq!(
            choose(&[layer(None, 500_000), layer(None, 100_000)], None, Some(360), None),
            Some(1)
        );
    }
}
