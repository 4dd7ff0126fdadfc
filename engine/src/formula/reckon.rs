//! Computes a formula that was read.
//!
//! Comes in: the tree and a number for each trigger. Goes out: what it comes to, or why
//! it comes to nothing. Counts its steps and gives up at the bound.

use super::function::Function;
use super::kind::Kind;
use super::read::{Node, Operator};
use super::{Error, STEPS_MAX};

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Int(i64),
    Float(f64),
    Bool(bool),
    Nil,
    List(Vec<Value>),
}

impl Value {
    pub fn kind(&self) -> Kind {
        match self {
            Value::Int(_) => Kind::Int,
            Value::Float(_) => Kind::Float,
            Value::Bool(_) => Kind::Bool,
            Value::Nil => Kind::Nil,
            Value::List(_) => Kind::List(Box::new(Kind::Any)),
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Value::Int(n) => Some(*n as f64),
            Value::Float(n) => Some(*n),
            _ => None,
        }
    }
}

type Result<T = Value> = std::result::Result<T, Error>;

pub struct Machine<'a> {
    triggers: &'a [Option<f64>],
    locals: Vec<Value>,
    elements: Vec<Value>,
    steps: u32,
}

impl<'a> Machine<'a> {
    pub fn new(triggers: &'a [Option<f64>]) -> Machine<'a> {
        Machine {
            triggers,
            locals: Vec::new(),
            elements: Vec::new(),
            steps: 0,
        }
    }

    pub fn run(&mut self, node: &Node) -> Result {
        self.step(1)?;
        match node {
            Node::Literal(value) => Ok(value.clone()),
            Node::Trigger(index) => {
                let known = self.triggers.get(*index).copied().flatten();
                Ok(known.map_or(Value::Nil, Value::Float))
            }
            Node::Local(index) => self.copy(self.locals.get(*index).cloned()),
            Node::Element => self.copy(self.elements.last().cloned()),
            Node::Not(of) => Ok(Value::Bool(!self.truth(of)?)),
            Node::Negative(of) => match self.run(of)? {
                Value::Int(n) => n.checked_neg().map(Value::Int).ok_or_else(overflow),
                Value::Float(n) => Ok(Value::Float(-n)),
                other => Err(Error::new(format!("has a sign before {}", other.kind()))),
            },
            Node::Chain { first, rest } => {
                let mut value = self.run(first)?;
                for (operator, right) in rest {
                    value = self.operate(*operator, value, right)?;
                }
                Ok(value)
            }
            Node::Ordered { first, rest } => self.ordered(first, rest),
            Node::Choice(parts) => {
                let [condition, one, other] = &**parts;
                let chosen = if self.truth(condition)? { one } else { other };
                self.run(chosen)
            }
            Node::Let(parts) => {
                let [value, body] = &**parts;
                let value = self.run(value)?;
                self.locals.push(value);
                let result = self.run(body);
                self.locals.pop();
                result
            }
            Node::List(items) => {
                let items: Result<Vec<Value>> = items.iter().map(|item| self.run(item)).collect();
                Ok(Value::List(items?))
            }
            Node::Call(function, arguments) => {
                let arguments: Result<Vec<Value>> =
                    arguments.iter().map(|item| self.run(item)).collect();
                let arguments = arguments?;
                let size = arguments.iter().map(size).sum();
                self.step(size)?;
                call(*function, arguments)
            }
            Node::Each(function, parts) => {
                let [list, each] = &**parts;
                self.each(*function, list, each)
            }
        }
    }

    fn step(&mut self, count: u32) -> Result<()> {
        self.steps = self.steps.saturating_add(count);
        if self.steps > STEPS_MAX {
            let why = format!("takes more than {STEPS_MAX} steps to compute");
            return Err(Error::new(why));
        }
        Ok(())
    }

    /// Lists cost what they hold.
    fn copy(&mut self, value: Option<Value>) -> Result {
        let value = value.unwrap_or(Value::Nil);
        self.step(size(&value))?;
        Ok(value)
    }

    fn truth(&mut self, node: &Node) -> Result<bool> {
        match self.run(node)? {
            Value::Bool(truth) => Ok(truth),
            other => Err(Error::new(format!(
                "takes {} for true or false",
                other.kind()
            ))),
        }
    }

    fn ordered(&mut self, first: &Node, rest: &[(Operator, Node)]) -> Result {
        let mut left = self.run(first)?;
        for (operator, right) in rest {
            let right = self.run(right)?;
            if !ordered(*operator, &left, &right)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    fn operate(&mut self, operator: Operator, left: Value, right: &Node) -> Result {
        match (operator, left) {
            (Operator::And, Value::Bool(false)) => Ok(Value::Bool(false)),
            (Operator::Or, Value::Bool(true)) => Ok(Value::Bool(true)),
            (Operator::And | Operator::Or, Value::Bool(_)) => Ok(Value::Bool(self.truth(right)?)),
            (Operator::Otherwise, Value::Nil) => self.run(right),
            (Operator::Otherwise, left) => Ok(left),
            (operator, left) => {
                let right = self.run(right)?;
                self.step(size(&left).saturating_add(size(&right)))?;
                operate(operator, &left, &right)
            }
        }
    }

    fn each(&mut self, function: Function, list: &Node, each: &Node) -> Result {
        let Value::List(items) = self.run(list)? else {
            let why = format!("gives {} something else than a list", function.name());
            return Err(Error::new(why));
        };
        let (mut kept, mut found, mut count) = (Vec::new(), 0_i64, 0_i64);
        for item in items {
            count += 1;
            self.elements.push(item);
            let made = self.run(each);
            let item = self.elements.pop();
            let made = made?;
            match function {
                Function::Map | Function::Sum => kept.push(made),
                _ => match made {
                    Value::Bool(true) => {
                        found += 1;
                        kept.extend(item.filter(|_| function == Function::Filter));
                    }
                    Value::Bool(false) => {}
                    other => {
                        return Err(Error::new(format!(
                            "has {} in {}, which takes true or false",
                            other.kind(),
                            function.name()
                        )));
                    }
                },
            }
        }
        Ok(match function {
            Function::Map | Function::Filter => Value::List(kept),
            Function::Sum => sum(&kept)?,
            Function::Any => Value::Bool(found > 0),
            Function::All => Value::Bool(found == count),
            Function::None => Value::Bool(found == 0),
            Function::One => Value::Bool(found == 1),
            _ => Value::Int(found),
        })
    }
}

/// How many things a value holds, itself left out.
fn size(value: &Value) -> u32 {
    match value {
        Value::List(items) => items.iter().fold(0, |sum: u32, item| {
            sum.saturating_add(1).saturating_add(size(item))
        }),
        _ => 0,
    }
}

fn overflow() -> Error {
    Error::new("has a whole number that becomes too large")
}

fn operate(operator: Operator, left: &Value, right: &Value) -> Result {
    match operator {
        Operator::Equal => return Ok(Value::Bool(equal(left, right))),
        Operator::Unequal => return Ok(Value::Bool(!equal(left, right))),
        Operator::In => {
            if let Value::List(items) = right {
                return Ok(Value::Bool(items.iter().any(|item| equal(left, item))));
            }
        }
        _ => {}
    }
    if let (Value::Int(left), Value::Int(right)) = (left, right) {
        let whole = match operator {
            Operator::Plus => Some(left.checked_add(*right)),
            Operator::Minus => Some(left.checked_sub(*right)),
            Operator::Times => Some(left.checked_mul(*right)),
            Operator::Rest if *right == 0 => {
                return Err(Error::new("divides a whole number by 0"));
            }
            Operator::Rest => Some(left.checked_rem(*right)),
            _ => None,
        };
        if let Some(whole) = whole {
            return whole.map(Value::Int).ok_or_else(overflow);
        }
    }
    let (Some(a), Some(b)) = (left.number(), right.number()) else {
        return Err(unfit(operator, left, right));
    };
    Ok(Value::Float(match operator {
        Operator::Plus => a + b,
        Operator::Minus => a - b,
        Operator::Times => a * b,
        Operator::Divide => a / b,
        Operator::Power => a.powf(b),
        _ => return Err(unfit(operator, left, right)),
    }))
}

fn unfit(operator: Operator, left: &Value, right: &Value) -> Error {
    let (left, right) = (left.kind(), right.kind());
    Error::new(format!(
        "has `{}` between {left} and {right}",
        operator.sign()
    ))
}

fn ordered(operator: Operator, left: &Value, right: &Value) -> Result<bool> {
    if let (Value::Int(left), Value::Int(right)) = (left, right) {
        return Ok(match operator {
            Operator::Less => left < right,
            Operator::LessOrEqual => left <= right,
            Operator::More => left > right,
            _ => left >= right,
        });
    }
    let (Some(a), Some(b)) = (left.number(), right.number()) else {
        return Err(unfit(operator, left, right));
    };
    Ok(match operator {
        Operator::Less => a < b,
        Operator::LessOrEqual => a <= b,
        Operator::More => a > b,
        _ => a >= b,
    })
}

#[expect(clippy::float_cmp, reason = "it is what `==` of the language does")]
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => left == right,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Nil, Value::Nil) => true,
        (Value::List(left), Value::List(right)) => {
            let pairs = || left.iter().zip(right);
            left.len() == right.len() && pairs().all(|(left, right)| equal(left, right))
        }
        (left, right) => match (left.number(), right.number()) {
            (Some(left), Some(right)) => left == right,
            _ => false,
        },
    }
}

fn call(function: Function, arguments: Vec<Value>) -> Result {
    let first = arguments.first();
    let wrong = || {
        let kind = first.map_or(Kind::Nil, Value::kind);
        Error::new(format!("gives {} {kind}", function.name()))
    };
    match function {
        Function::Min | Function::Max | Function::Mean | Function::Median => {
            let mut numbers = Vec::new();
            for argument in arguments {
                flatten(function, argument, &mut numbers)?;
            }
            return many(function, numbers);
        }
        Function::Sum | Function::Len | Function::Count => {
            let Some(Value::List(items)) = first else {
                return Err(wrong());
            };
            let all = items.iter();
            return match function {
                Function::Len => Ok(Value::Int(items.len() as i64)),
                Function::Sum => sum(items),
                _ => Ok(Value::Int(
                    all.filter(|item| **item == Value::Bool(true)).count() as i64,
                )),
            };
        }
        _ => {}
    }
    let number = first.and_then(Value::number).ok_or_else(wrong)?;
    Ok(match (function, first) {
        (Function::Abs, Some(Value::Int(n))) => Value::Int(n.checked_abs().ok_or_else(overflow)?),
        (Function::Int, Some(Value::Int(n))) => Value::Int(*n),
        (Function::Int, _) if number.abs() < 9e18 => Value::Int(number as i64),
        (Function::Int, _) => return Err(overflow()),
        (Function::Abs, _) => Value::Float(number.abs()),
        (Function::Ceil, _) => Value::Float(number.ceil()),
        (Function::Floor, _) => Value::Float(number.floor()),
        (Function::Round, _) => Value::Float(number.round()),
        _ => Value::Float(number),
    })
}

/// All numbers of a value, lists within lists too.
fn flatten(function: Function, value: Value, numbers: &mut Vec<Value>) -> Result<()> {
    match value {
        Value::Int(_) | Value::Float(_) => numbers.push(value),
        Value::List(items) => {
            for item in items {
                flatten(function, item, numbers)?;
            }
        }
        other => {
            let why = format!("gives {} {}", function.name(), other.kind());
            return Err(Error::new(why));
        }
    }
    Ok(())
}

fn many(function: Function, numbers: Vec<Value>) -> Result {
    let as_float = |value: &Value| value.number().unwrap_or_default();
    let floats = || numbers.iter().map(as_float);
    let count = numbers.len();
    Ok(match function {
        Function::Mean if count == 0 => Value::Float(0.0),
        Function::Mean => Value::Float(floats().sum::<f64>() / count as f64),
        Function::Median => {
            let mut sorted: Vec<f64> = floats().collect();
            sorted.sort_by(f64::total_cmp);
            let middle = |n: usize| sorted.get(n).copied().unwrap_or_default();
            Value::Float(if count % 2 == 1 {
                middle(count / 2)
            } else {
                f64::midpoint(middle((count / 2).saturating_sub(1)), middle(count / 2))
            })
        }
        _ => {
            let mut best: Option<Value> = None;
            for number in numbers {
                let better = best.as_ref().is_none_or(|best| {
                    let (number, best) = (as_float(&number), as_float(best));
                    if function == Function::Min {
                        number < best
                    } else {
                        number > best
                    }
                });
                if better {
                    best = Some(number);
                }
            }
            best.ok_or_else(|| Error::new(format!("gives {} nothing", function.name())))?
        }
    })
}

fn sum(items: &[Value]) -> Result {
    let mut total = Value::Int(0);
    for item in items {
        total = operate(Operator::Plus, &total, item)?;
    }
    Ok(total)
}
