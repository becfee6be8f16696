//! What the server says of its program at `/metrics`: a scrape and the difference of two. Pure.

use std::collections::BTreeMap;

/// The samples of one scrape: name with labels → value.
#[derive(Clone, Debug, Default)]
pub struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    /// The Prometheus text format.
    pub fn parse(text: &str) -> Scrape {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.filter_map(|line| line.rsplit_once(' '));
        Scrape(
            samples
                .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
                .collect(),
        )
    }

    /// What was counted from `earlier` on; nothing is known of what the server does not offer.
    pub fn since(&self, earlier: &Scrape, name: &str) -> Option<f64> {
        Some(self.0.get(name)? - earlier.0.get(name).copied().unwrap_or(0.0))
    }

    /// A histogram of what was observed from `earlier` on.
    pub fn histogram(&self, earlier: &Scrape, name: &str) -> Histogram {
        let prefix = format!("{name}_bucket{{le=\"");
        let buckets = self.0.keys().filter_map(|key| {
            let bound = key.strip_prefix(&prefix)?.strip_suffix("\"}")?;
            let bound = if bound == "+Inf" {
                f64::INFINITY
            } else {
                bound.parse().ok()?
            };
            Some((bound, self.since(earlier, key)?))
        });
        let mut cumulative: Vec<(f64, f64)> = buckets.collect();
        cumulative.sort_by(|a, b| a.0.total_cmp(&b.0));
        Histogram { cumulative }
    }
}

/// Upper bounds in seconds, and how many observations are not above each.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    cumulative: Vec<(f64, f64)>,
}

impl Histogram {
    pub fn count(&self) -> f64 {
        self.cumulative.last().map_or(0.0, |(_, count)| *count)
    }

    /// In milliseconds, interpolated in its bucket; above the last bound it is that bound. `None`: nothing was observed.
    pub fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        let rank = self.count() * quantile;
        if rank <= 0.0 {
            return None;
        }
        let (mut lower, mut below) = (0.0, 0.0);
        for &(bound, count) in &self.cumulative {
            if count >= rank && bound.is_finite() {
                return Some((lower + (bound - lower) * (rank - below) / (count - below)) * 1e3);
            }
            if bound.is_finite() {
                (lower, below) = (bound, count);
            }
        }
        Some(lower * 1e3)
    }
}
