//! A sum that follows the changes is the sum of what there is.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Act {
    Insert(u8, u8),
    Remove(u8),
    Change(u8, u8),
    Default(u8, u8),
    Settle,
    Push(u8),
    Pop,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let (key, value) = (0..6_u8, 0..3_u8);
    let act = prop_oneof![
        (key.clone(), value.clone()).prop_map(|(k, v)| Act::Insert(k, v)),
        key.clone().prop_map(Act::Remove),
        (key.clone(), value.clone()).prop_map(|(k, v)| Act::Change(k, v)),
        (key, value.clone()).prop_map(|(k, v)| Act::Default(k, v)),
        Just(Act::Settle),
        value.prop_map(Act::Push),
        Just(Act::Pop),
    ];
    prop::collection::vec(act, 0..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_sum_is_that_of_what_there_is_whatever_was_done_before(
        acts in acts(),
        fresh: bool,
    ) {
        let mut map = Map::default();
        let mut queue = Queue::default();
        if fresh {
            map = Map::from([(0_u8, 1_u8), (9, 9)]);
            queue = Queue::from_iter([1_u8, 2]);
        }
        for act in acts {
            match act {
                Act::Insert(key, value) => _ = map.insert(key, value),
                Act::Remove(key) => _ = map.remove(&key),
                Act::Change(key, value) => {
                    if let Some(it) = map.get_mut(&key) {
                        *it = value;
                    }
                }
                Act::Default(key, value) => *map.get_or_default(&key) = value,
                Act::Settle => {
                    prop_assert_eq!(map.sum(), map.settle());
                    prop_assert_eq!(queue.sum(), queue.settle());
                }
                Act::Push(value) => queue.push_back(value),
                Act::Pop => _ = queue.pop_front(),
            }
            prop_assert_eq!(map.sum(), Map::from((*map).clone()).sum());
            prop_assert_eq!(queue.sum(), Queue::from((*queue).clone()).sum());
        }
    }

    #[test]
    fn what_differs_has_another_sum(one: BTreeMap<u8, u8>, other: BTreeMap<u8, u8>) {
        let same = one == other;
        prop_assert_eq!(Map::from(one).sum() == Map::from(other).sum(), same);
    }

    #[test]
    fn the_order_of_a_queue_counts(one: VecDeque<bool>, other: VecDeque<bool>) {
        let same = one == other;
        prop_assert_eq!(Queue::from(one).sum() == Queue::from(other).sum(), same);
    }
}

#[test]
fn what_is_empty_has_no_sum() {
    assert_eq!(Map::<u8, u8>::default().sum(), Sum::default());
    assert_eq!(Map::<u8, u8>::from([]).sum(), Sum::default());
    assert_eq!(Queue::<u8>::default().sum(), Sum::default());
}
