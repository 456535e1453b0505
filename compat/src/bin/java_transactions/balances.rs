//! The join of two tables: what each customer ordered and what each paid, as sums that are kept in stores with changelogs.
//!
//! Each change of either sum is joined with the other as it then is. Which comes first is open, but from one output of a
//! customer to the next exactly one more record is in one of the sums, from the first that both have to the last of both.

use std::collections::BTreeMap;
use std::process::Command;

use crate::application::{Application, Fault, Place, Record, Records, streams};

const CUSTOMERS: usize = 20;
const TOPICS: [&str; 2] = ["orders", "payments"];

/// The application `balances` of `Streams.java`.
#[derive(Debug)]
pub struct Balances;

/// The sums of a customer's first records of a topic: none, the first, the first two, and so on.
type Sums<'a> = BTreeMap<&'a str, Vec<u64>>;

impl Application for Balances {
    fn name(&self) -> &'static str {
        "balances"
    }

    fn inputs(&self) -> &'static [&'static str] {
        &TOPICS
    }

    fn output(&self) -> &'static str {
        "joined"
    }

    fn instance(&self, _: usize, place: Place<'_>) -> Command {
        streams(self.name(), place)
    }

    fn record(&self, number: u64, random: &mut fastrand::Rng) -> (&'static str, Record) {
        let key = format!("customer{}", random.usize(..CUSTOMERS));
        let value = format!("{number} {}", random.u32(1..1000));
        (TOPICS[random.usize(..2)], Record { offset: -1, key, value })
    }

    fn check(&self, input: &Records, output: &Records) -> Result<(), Fault> {
        let sums = [sums(input, TOPICS[0])?, sums(input, TOPICS[1])?];
        let mut last: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
        for ((_, partition), records) in output {
            for record in records {
                let wrong = |what: &str| {
                    let Record { offset, key, value } = record;
                    Fault::Wrong(format!("partition {partition}, offset {offset}: {key} has {value}: {what}"))
                };
                let counts = counts(record, &sums).ok_or_else(|| wrong("those are no sums of its first records"))?;
                if !follows(last.insert(&record.key, counts), counts) {
                    return Err(wrong("that does not follow by one record"));
                }
            }
        }
        for customer in sums[0].keys().filter(|customer| sums[1].contains_key(*customer)) {
            let all = [0, 1].map(|topic| sums[topic].get(customer).map_or(0, |sums| sums.len() - 1));
            if last.get(customer) != Some(&all) {
                let last = last.get(customer);
                return Err(Fault::Missing(format!("{customer}: {all:?} records, and {last:?} of them joined")));
            }
        }
        Ok(())
    }
}

/// Whether an output with these counts of records may come after that with the counts before.
fn follows(before: Option<[usize; 2]>, [ordered, paid]: [usize; 2]) -> bool {
    match before {
        // The first output comes with the record that makes one side no longer empty.
        None => ordered.min(paid) == 1,
        Some([ordered_before, paid_before]) => {
            [ordered, paid] == [ordered_before + 1, paid_before] || [ordered, paid] == [ordered_before, paid_before + 1]
        }
    }
}

fn sums<'a>(input: &'a Records, topic: &str) -> Result<Sums<'a>, Fault> {
    let mut sums = Sums::new();
    for record in input.iter().filter(|((of, _), _)| *of == topic).flat_map(|(_, records)| records) {
        let amount: Option<u64> = record.value.split(' ').nth(1).and_then(|amount| amount.parse().ok());
        let amount = amount.ok_or_else(|| Fault::Wrong(format!("{topic} has the value {:?}", record.value)))?;
        let of_customer = sums.entry(&*record.key).or_insert_with(|| vec![0]);
        of_customer.push(of_customer.last().map_or(0, |sum| sum + amount));
    }
    Ok(sums)
}

/// How many orders and payments are in the output's two sums, if those are the sums of so many.
fn counts(record: &Record, sums: &[Sums<'_>; 2]) -> Option<[usize; 2]> {
    let numbers: Option<Vec<u64>> = record.value.split(' ').map(|number| number.parse().ok()).collect();
    let [ordered, sum_ordered, paid, sum_paid] = numbers?.try_into().ok()?;
    let is_sum = |topic: usize, count: u64, sum: u64| {
        let count = usize::try_from(count).ok()?;
        (sums[topic].get(&*record.key)?.get(count) == Some(&sum)).then_some(count)
    };
    Some([is_sum(0, ordered, sum_ordered)?, is_sum(1, paid, sum_paid)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::tests::{missing, records, wrong};

    fn check(balances: &[&str]) -> Result<(), Fault> {
        let mut input = records("orders", &[("c", "0 10"), ("c", "2 5")]);
        input.extend(records("payments", &[("c", "1 7"), ("d", "3 1")]));
        let output: Vec<(&str, &str)> = balances.iter().map(|value| ("c", *value)).collect();
        Balances.check(&input, &records("joined", &output))
    }

    #[test]
    fn takes_each_step_of_either_side_once() {
        assert_eq!(check(&["1 10 1 7", "2 15 1 7"]), Ok(()));
        assert_eq!(check(&["2 15 1 7"]), Ok(()), "both orders were there before the payment");
        assert!(missing(&check(&["1 10 1 7"])));
        assert!(missing(&check(&[])));
        assert!(wrong(&check(&["1 10 1 7", "1 10 1 7"])), "twice the same");
        assert!(wrong(&check(&["1 11 1 7"])), "no sum");
        assert!(wrong(&check(&["3 15 1 7"])), "more than there are");
        assert!(wrong(&check(&["2 15 1 7", "1 10 1 7"])), "back");
        assert!(wrong(&check(&["0 0 1 7"])), "an order is missing");
    }
}
