//! How long lists and searches take, and the CPU time of the process of Postgres that executes them, which
//! depends much less on what else the machine does.

use std::time::{Duration, Instant};

use notes::store::{self, Listing, PageSize, SearchQuery};

use super::{
    Size, connect,
    costs::Backend,
    large,
    note_paths::{Queries, some_note},
    person,
};

/// Calls by random people, for each list and query.
const CALLS: u64 = 500;

/// Calls by the person with most notes.
const LARGE_CALLS: u64 = 50;

/// The number of the first person: others than those whose statements were explained.
const FIRST: u64 = 1_000_000;

pub(super) async fn run(url: &str, size: Size) -> anyhow::Result<()> {
    // One connection, so that its process is known.
    let app = connect(url, 1).await?;
    let backend = Backend::of(&app).await?;
    println!("\n| call | notes of the person | p50 ms | p99 ms | CPU p50 ms | CPU p99 ms |");
    println!("|---|---|---|---|---|---|");
    let typical = |number| person(FIRST + number, size);
    let of = |number| if number < CALLS { typical(number) } else { large() };
    let people = [("about 100", 0..CALLS), ("10,000", CALLS..CALLS + LARGE_CALLS)];
    for (notes, calls) in people.clone() {
        let mut times = Times::default();
        for number in calls {
            let owner = of(number);
            let list = store::list(app.db(), &owner, Listing::default());
            times.measure(&backend, list).await?;
        }
        println!("| list | {notes} | {} |", times.cells());
    }
    let queries = Queries::of(&some_note(&app, &large()).await?)?;
    for (index, (what, _)) in queries.0.iter().enumerate() {
        for (notes, calls) in people.clone() {
            let mut times = Times::default();
            for number in calls {
                let owner = of(number);
                let query = &Queries::of(&some_note(&app, &owner).await?)?.0[index].1;
                let words = SearchQuery::parse(query)?;
                let found = store::find(app.state(), &owner, &words, PageSize::default());
                times.measure(&backend, found).await?;
            }
            println!("| search: {what} | {notes} | {} |", times.cells());
        }
    }
    println!();
    app.close().await;
    Ok(())
}

/// The times of calls.
#[derive(Default)]
struct Times {
    elapsed: Vec<Duration>,
    cpu: Vec<Duration>,
}

impl Times {
    async fn measure<T, E>(
        &mut self,
        backend: &Backend,
        call: impl Future<Output = Result<T, E>>,
    ) -> anyhow::Result<()>
    where
        anyhow::Error: From<E>,
    {
        let (cpu, began) = (backend.cpu_time()?, Instant::now());
        call.await?;
        self.elapsed.push(began.elapsed());
        self.cpu.push(backend.cpu_time()?.saturating_sub(cpu));
        Ok(())
    }

    /// Returns the medians and the 99th percentiles as cells of a table.
    fn cells(self) -> String {
        let cells = [self.elapsed, self.cpu].map(|mut times| {
            times.sort_unstable();
            let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
            format!("{:.2} | {:.2}", at(50), at(99))
        });
        cells.join(" | ")
    }
}
