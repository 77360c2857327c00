//! A level that threads raise and lower: what one raised another may lower.

use std::sync::mpsc::channel;
use std::thread;

use ng_metrics::{Format, Registry, UpDownCounter};

#[test]
fn what_one_thread_raised_another_lowers_and_threads_that_ended_count() {
    let open = UpDownCounter::new();
    for _ in 0..20 {
        thread::scope(|scope| {
            scope.spawn(|| (0..1_000).for_each(|_| open.inc()));
            scope.spawn(|| (0..990).for_each(|_| open.dec()));
        });
    }
    assert_eq!(open.get(), 20 * 10);
    open.add(-300);
    assert_eq!(open.get(), -100);
}

#[test]
fn things_that_travel_between_threads_are_counted_to_nought() {
    let open = UpDownCounter::default();
    let (sender, receiver) = channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            for thing in 0..5_000 {
                open.inc();
                sender.send(thing).unwrap();
            }
            drop(sender);
        });
        scope.spawn(|| receiver.into_iter().for_each(|_| open.dec()));
    });
    assert_eq!(open.get(), 0);
}

#[test]
fn the_ends_of_its_range_are_reached() {
    let level = UpDownCounter::new();
    level.add(i64::MIN);
    assert_eq!(level.get(), i64::MIN);
    level.add(i64::MAX);
    assert_eq!(level.get(), -1);
}

#[test]
fn on_a_page_it_is_a_gauge() {
    let registry = Registry::new("t").unwrap();
    registry.up_down_counter("open_files", "Open.").unwrap().add(-3);
    let page = registry.encode(Format::OpenMetrics);
    assert!(page.contains("# TYPE t_open_files gauge\nt_open_files -3.0\n"), "{page}");
}
