//! Which segments become one: cleaned ones shrink, and many small files help nobody.

use super::SegmentSummary;

/// Puts neighbours together as long as they fit one segment, in bytes before they are cleaned and in
/// offsets, which an index counts in 31 bits. `end` is the first offset after the last of them. Returns
/// how many segments each group has.
pub fn group_segments(segments: &[SegmentSummary], segment_bytes: u32, end: i64) -> Vec<usize> {
    let mut groups = Vec::new();
    // Of the group that is growing: its first offset, bytes, segments.
    let mut open: Option<(i64, u64, usize)> = None;
    for (at, segment) in segments.iter().enumerate() {
        let last_offset = segments.get(at + 1).map_or(end, |next| next.base_offset) - 1;
        open = match open {
            Some((first, bytes, count))
                if bytes + segment.bytes <= u64::from(segment_bytes)
                    && last_offset - first <= i64::from(i32::MAX) =>
            {
                Some((first, bytes + segment.bytes, count + 1))
            }
            full => {
                groups.extend(full.map(|(_, _, count)| count));
                Some((segment.base_offset, segment.bytes, 1))
            }
        };
    }
    groups.extend(open.map(|(_, _, count)| count));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_put_together_up_to_the_size_and_the_reach_of_an_index() {
        const FAR: i64 = 1 << 31;
        type Case = (&'static str, &'static [(i64, u64)], &'static [usize]);
        let of = |segments: &[(i64, u64)]| {
            let segments: Vec<SegmentSummary> = segments
                .iter()
                .map(|&(base_offset, bytes)| SegmentSummary {
                    base_offset,
                    bytes,
                    max_timestamp: -1,
                    first_timestamp: -1,
                })
                .collect();
            group_segments(&segments, 100, 1 << 33)
        };
        let cases: [Case; 6] = [
            ("none", &[], &[]),
            ("fit exactly", &[(0, 60), (10, 40), (20, 1), ((1 << 33) - 1, 1)], &[2, 1, 1]),
            ("one byte too many", &[(0, 60), (10, 30), (20, 11), (30, 1), (FAR, 1)], &[2, 2, 1]),
            ("too large alone", &[(0, 500), (10, 500), ((1 << 33) - 5, 5)], &[1, 1, 1]),
            ("as far as an index reaches", &[(0, 1), (5, 1), (FAR, 1)], &[2, 1]),
            ("one offset too far", &[(0, 1), (5, 1), (FAR + 1, 1)], &[1, 1, 1]),
        ];
        for (name, segments, expected) in cases {
            assert_eq!(of(segments), expected, "{name}");
        }
    }
}
