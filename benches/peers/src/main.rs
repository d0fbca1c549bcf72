//! lanekeeper and its peers in front of the same broker, on the same network paths.
//!
//! Drives the same saturated workload through each limiter in virtual time, counts what a modelled broker refuses,
//! and writes the tables, plots and drawings into `docs/`. With `--http`, three of them also run over real HTTP
//! against the strict simulator, in real time. Fails if lanekeeper is refused once, or falls more than 2 % short of
//! what a safe client can use.

mod broker;
mod crowd;
mod drawings;
mod grid;
mod http;
mod page;
mod path;
mod peers;
mod plot;
mod tables;

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;

/// Compares lanekeeper with its peers and remakes docs/comparison.md and docs/img.
#[derive(Parser)]
struct Args {
    /// Also run three of them over real HTTP, a quarter of a minute each.
    #[arg(long)]
    http: bool,
    /// Runs of each cell: with the seeds 1, 2, 3 and so on.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Where the pages are.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs"))]
    docs: PathBuf,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let page = args.docs.join("comparison.md");
    let images = args.docs.join("img");
    std::fs::create_dir_all(&images)?;

    let grid = grid::Grid::run(args.seeds);
    let faster = grid::row(&path::FASTER_THAN_EVER, args.seeds);
    let parts = [
        ("settings", tables::settings()),
        ("paths", tables::paths(&grid, args.seeds)),
        ("figures", tables::figures(&grid)),
        ("more", tables::more(&grid)),
        ("faster", tables::faster(&faster, args.seeds)),
    ];
    for (name, text) in &parts {
        println!("{text}");
        page::replace(&page, name, text)?;
    }
    std::fs::write(args.docs.join("comparison.csv"), tables::csv(&grid))?;
    plot::arrivals(&images.join("arrivals.svg"))?;
    plot::latency(&images.join("latency.svg"))?;
    drawings::write(&images)?;
    if args.http {
        let text = tables::http(&http::run()?);
        println!("{text}");
        page::replace(&page, "http", &text)?;
    }
    match grid.broken_promises() {
        broken if broken.is_empty() => Ok(()),
        broken => Err(broken.join("\n").into()),
    }
}
