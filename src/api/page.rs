//! Lists, page by page. Pure.

use crate::room::Refusal;
use serde::Deserialize;
use utoipa::IntoParams;

/// A page where no `limit` is named.
const LIMIT: usize = 100;
/// The longest page of a list.
const LIMIT_MAX: usize = 1000;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// 1 to 1000; 100 when absent.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl Page {
    pub fn limit(&self) -> Result<usize, Refusal> {
        let limit = self.limit.unwrap_or(LIMIT);
        if (1..=LIMIT_MAX).contains(&limit) {
            Ok(limit)
        } else {
            Err(Refusal::invalid(
                "limit",
                format!("a page has 1 to {LIMIT_MAX} entries"),
            ))
        }
    }

    /// Behind which entry the page begins.
    pub fn after<T, E>(&self, parse: impl Fn(&str) -> Result<T, E>) -> Result<Option<T>, Refusal> {
        let after = self.cursor.as_deref().map(parse).transpose();
        after.map_err(|_| Refusal::invalid("cursor", "not a cursor of this list"))
    }

    /// The page, and the cursor of the next one if there is more. `cursor` names an entry.
    pub fn cut<T>(
        &self,
        entries: impl Iterator<Item = T>,
        cursor: impl Fn(&T) -> String,
    ) -> Result<(Vec<T>, Option<String>), Refusal> {
        let limit = self.limit()?;
        // One more than asked for tells whether there is a next page.
        let mut page: Vec<T> = entries.take(limit + 1).collect();
        let more = page.len() > limit;
        page.truncate(limit);
        let next = page.last().filter(|_| more).map(cursor);
        Ok((page, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_page_is_not_the_last_one_only_if_more_follows() {
        let page = |limit: Option<usize>, entries: u32| {
            let page = Page { limit, cursor: None };
            page.cut(0..entries, u32::to_string).map_err(|refusal| refusal.field)
        };
        assert_eq!(page(Some(2), 3), Ok((vec![0, 1], Some("1".into()))));
        assert_eq!(page(Some(2), 2), Ok((vec![0, 1], None)));
        assert_eq!(page(Some(2), 0), Ok((vec![], None)));
        let hundred = page(None, 101).expect("a page");
        assert_eq!((hundred.0.len(), hundred.1.as_deref()), (100, Some("99")));
        for wrong in [0, 1001] {
            assert_eq!(page(Some(wrong), 1), Err(Some("limit".into())), "{wrong}");
        }
    }
}
