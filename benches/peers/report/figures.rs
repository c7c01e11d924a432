//! What became of a figure over all rounds, as it is printed.

/// One figure in each round; none where a server has no such figure.
pub type Samples = Vec<Option<f64>>;

/// Ours to theirs in each round that has both, and theirs is not nothing.
pub fn ratios(ours: &Samples, theirs: &Samples) -> Samples {
    let both = ours.iter().zip(theirs).filter_map(|(ours, theirs)| Some(((*ours)?, (*theirs)?)));
    let both = both.filter(|(_, theirs)| *theirs != 0.0);
    both.map(|(ours, theirs)| Some(ours / theirs)).collect()
}

fn sorted(samples: &Samples) -> Vec<f64> {
    let mut sorted: Vec<f64> = samples.iter().copied().flatten().collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The median.
pub fn middle(samples: &Samples) -> Option<f64> {
    let sorted = sorted(samples);
    let (low, high) =
        (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some((low + high) / 2.0)
}

/// The median, and in brackets from the lowest to the highest.
pub fn spread(samples: &Samples, digits: usize) -> String {
    let sorted = sorted(samples);
    let number = |figure: f64| thousands(format!("{figure:.digits$}"));
    match (middle(samples), sorted.as_slice()) {
        (Some(middle), [lowest, .., highest]) => {
            format!("{} ({}–{})", number(middle), number(*lowest), number(*highest))
        }
        (Some(middle), _) => number(middle),
        (None, _) => "–".into(),
    }
}

fn thousands(number: String) -> String {
    let (whole, rest) = number.split_at(number.find('.').unwrap_or(number.len()));
    let mut grouped = String::new();
    for (at, digit) in whole.char_indices() {
        let left = whole.len() - at;
        if at > 0 && left.is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}
