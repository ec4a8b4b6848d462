//! The name somebody probably meant.

/// Returns the known name that takes the fewest edits to reach.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.min_by_key(|known| edit_distance(name, known))
}

/// Levenshtein's distance, over bytes: property names are ASCII. A name too long to be a
/// property's is cut, so the work is bounded.
fn edit_distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 128;
    let a = &a.as_bytes()[..a.len().min(LONGEST)];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(*x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
