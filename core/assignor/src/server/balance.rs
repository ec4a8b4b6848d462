//! Who among a topic's subscribers has the fewest partitions, and who the most, while partitions
//! move from the one to the other.
//!
//! Subscribers stand in a row, ordered by how many partitions they have and then by their place in
//! the group. From the left, those with the fewest form the *low* range; a turn through it gives
//! each of them one, and then those who have as many now join it. From the right, those with the
//! most form the *high* range, which is gone through from its end; a turn takes one from each. Who
//! has nothing of the topic to give is put behind the range's end. So everything costs a step,
//! where a sorted set would cost a search.
//!
//! ```text
//!           low                     high
//!           [ next ->      ]   [   <- next ]
//! row:      2   2   2   2   4   6   6   6   | 7   7     <- nothing to give
//! ```

pub(super) struct Balance {
    row: Vec<usize>,
    /// How many partitions everyone in the low range had when the turn through it began.
    low_size: i64,
    low_end: usize,
    low_next: usize,
    /// How many partitions everyone in the high range had when the turn through it began.
    high_size: i64,
    high_start: usize,
    high_end: usize,
    /// One past the next to give: no larger than the start when the turn is over.
    high_next: usize,
}

impl Balance {
    /// Begins with members who have as many partitions as `sizes` says.
    pub(super) fn new(members: &[usize], sizes: &[usize]) -> Self {
        let mut row = members.to_vec();
        row.sort_by_key(|member| (sizes[*member], *member));
        let size = |member: Option<&usize>| member.map_or(0, |member| sizes[*member] as i64);
        Self {
            low_size: size(row.first()) - 1,
            low_end: 0,
            low_next: 0,
            high_size: size(row.last()) + 1,
            high_start: row.len(),
            high_end: row.len(),
            high_next: row.len(),
            row,
        }
    }

    /// Says whether the turns have come so close that a move between them improves nothing.
    pub(super) fn is_even(&self) -> bool {
        self.high_size - self.low_size <= 1
    }

    /// Returns the member to give the next partition to.
    pub(super) fn next_poorest(&mut self, sizes: &[usize]) -> usize {
        if self.low_next >= self.low_end {
            self.low_size += 1;
            while self.size_at(self.low_end, sizes) == Some(self.low_size) {
                self.low_end += 1;
            }
            self.low_next = 0;
        }
        self.low_next += 1;
        self.row[self.low_next - 1]
    }

    /// Returns the member to take the next partition from, with the partition that `gives` names
    /// for it; `None` when nobody who is left has one.
    pub(super) fn next_richest<T>(
        &mut self,
        sizes: &[usize],
        gives: impl Fn(usize) -> Option<T>,
    ) -> Option<(usize, T)> {
        loop {
            if self.high_next <= self.high_start {
                self.begin_high_turn(sizes);
            }
            let place = self.high_next.checked_sub(1)?;
            self.high_next = place;
            let member = self.row[place];
            if let Some(given) = gives(member) {
                return Some((member, given));
            }
            self.high_end -= 1;
            self.row.swap(place, self.high_end);
        }
    }

    fn begin_high_turn(&mut self, sizes: &[usize]) {
        let next_outside = self.high_start.checked_sub(1);
        match next_outside.and_then(|place| self.size_at(place, sizes)) {
            // Everyone in the range had nothing to give: on to whoever comes next, however far down.
            Some(size) if self.high_end <= self.high_start => self.high_size = size,
            _ => self.high_size -= 1,
        }
        while self.high_start > 0
            && self.size_at(self.high_start - 1, sizes) == Some(self.high_size)
        {
            self.high_start -= 1;
        }
        self.high_next = self.high_end;
    }

    fn size_at(&self, place: usize, sizes: &[usize]) -> Option<i64> {
        self.row.get(place).map(|member| sizes[*member] as i64)
    }
}
