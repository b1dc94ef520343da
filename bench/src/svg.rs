//! Line charts for the docs: a few points each, one or two lines, a logarithmic horizontal axis.

use std::fmt::Write;

#[derive(Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    /// The label of the horizontal axis.
    pub(crate) axis: String,
    /// The points, in rising order of the horizontal axis.
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 170.0;
const COLUMNS: usize = 3;
const MARGIN: (f64, f64) = (46.0, 34.0);

/// Charts side by side, in as many rows as necessary.
pub(crate) fn charts(charts: &[Chart]) -> String {
    let (cell_width, cell_height) = (WIDTH + MARGIN.0 + 24.0, HEIGHT + 2.0 * MARGIN.1 + 10.0);
    let columns = charts.len().min(COLUMNS);
    let rows = charts.len().div_ceil(COLUMNS);
    let (width, height) = (cell_width * columns as f64, cell_height * rows as f64);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (number, chart) in charts.iter().enumerate() {
        let x = (number % COLUMNS) as f64 * cell_width + MARGIN.0;
        let y = (number / COLUMNS) as f64 * cell_height + MARGIN.1;
        // Writing to a string can't fail.
        let _ = writeln!(out, "<g transform=\"translate({x:.0} {y:.0})\">\n{}</g>", chart.draw());
    }
    out + "</svg>\n"
}

impl Chart {
    fn draw(&self) -> String {
        let top = self.points.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max) * 1.15;
        let low = self.points.first().map_or(1.0, |(at, _)| at.ln());
        let high = self.points.last().map_or(2.0, |(at, _)| at.ln());
        let x = |at: f64| if high > low { (at.ln() - low) / (high - low) * WIDTH } else { WIDTH / 2.0 };
        let y = |value: f64| HEIGHT - value / top * HEIGHT;
        let mut out = String::new();
        let mut text = |x: f64, y: f64, anchor: &str, text: &str| {
            let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
        };
        text(0.0, -12.0, "start", &self.title);
        text(WIDTH / 2.0, HEIGHT + 32.0, "middle", &self.axis);
        for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
            text(-6.0, y(top * part) + 4.0, "end", &crate::table::number(top * part));
        }
        for (at, _) in &self.points {
            text(x(*at), HEIGHT + 16.0, "middle", &short(*at));
        }
        for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
            let y = y(top * part);
            let _ = writeln!(out, "<path d=\"M0 {y:.1}H{WIDTH}\" stroke=\"#ddd\"/>");
        }
        let line: Vec<_> =
            self.points.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
        let line = line.join(" ");
        let _ = writeln!(
            out,
            "<polyline points=\"{line}\" fill=\"none\" stroke=\"#c2410c\" stroke-width=\"2\"/>"
        );
        for (at, value) in &self.points {
            let _ = writeln!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"#c2410c\"/>",
                x(*at),
                y(*value)
            );
        }
        out
    }
}

fn short(number: f64) -> String {
    match number {
        1e6.. => format!("{}M", number / 1e6),
        1e3.. => format!("{}k", number / 1e3),
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_draws_its_points() {
        let points = vec![(10_000.0, 1.0), (100_000.0, 2.0), (1_000_000.0, 4.0)];
        let svg = charts(&[Chart { title: "cost".into(), axis: "series".into(), points }]);
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains(">10k<") && svg.contains(">1M<") && svg.contains(">cost<"));
        assert!(svg.contains("cx=\"150.0\""), "the middle one of three, on a logarithmic axis");
        assert!(svg.ends_with("</svg>\n"));
    }
}
