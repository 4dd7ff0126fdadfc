//! A formula's grammar: from words to a tree, each part with its kind.
//!
//! Precedence, binding and what may not be mixed are Expr's. The tree is as deep as the
//! formula is nested: what follows each other on one level lies side by side.

use super::function::{Function, Predicate};
use super::kind::Kind;
use super::reckon::Value;
use super::word::{self, Placed, Word, placed, words};
use super::{Error, NESTING_MAX};

#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    Literal(Value),
    /// The trigger with this number.
    Trigger(usize),
    /// The `let` with this number, counted from the outermost one.
    Local(usize),
    /// `#`
    Element,
    Not(Box<Node>),
    Negative(Box<Node>),
    /// From left to right, each with what came of those before.
    Chain {
        first: Box<Node>,
        rest: Vec<(Operator, Node)>,
    },
    /// `a < b <= c`
    Ordered {
        first: Box<Node>,
        rest: Vec<(Operator, Node)>,
    },
    Choice(Box<[Node; 3]>),
    Let(Box<[Node; 2]>),
    List(Vec<Node>),
    Call(Function, Vec<Node>),
    /// Of a list, with something that is computed for each thing in it.
    Each(Function, Box<[Node; 2]>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
    In,
    Plus,
    Minus,
    Times,
    Divide,
    Rest,
    Power,
    Otherwise,
}

/// With its precedence: of two the higher one is computed first.
const OPERATORS: [(&str, Operator, u16); 19] = [
    ("or", Operator::Or, 10),
    ("||", Operator::Or, 10),
    ("and", Operator::And, 15),
    ("&&", Operator::And, 15),
    ("==", Operator::Equal, 20),
    ("!=", Operator::Unequal, 20),
    ("<", Operator::Less, 20),
    ("<=", Operator::LessOrEqual, 20),
    (">", Operator::More, 20),
    (">=", Operator::MoreOrEqual, 20),
    ("in", Operator::In, 20),
    ("+", Operator::Plus, 30),
    ("-", Operator::Minus, 30),
    ("*", Operator::Times, 60),
    ("/", Operator::Divide, 60),
    ("%", Operator::Rest, 60),
    ("^", Operator::Power, 100),
    ("**", Operator::Power, 100),
    ("??", Operator::Otherwise, 500),
];
/// Of what stands before one thing alone.
const NOT: u16 = 50;
const SIGN: u16 = 90;

impl Operator {
    fn of(word: Word<'_>) -> Option<(Operator, u16)> {
        let (Word::Name(text) | Word::Sign(text)) = word else {
            return None;
        };
        let found = OPERATORS.iter().find(|(sign, ..)| *sign == text);
        found.map(|(_, operator, precedence)| (*operator, *precedence))
    }

    pub fn sign(self) -> &'static str {
        let found = OPERATORS.iter().find(|(_, operator, _)| *operator == self);
        found.map_or("", |(sign, ..)| sign)
    }

    fn orders(self) -> bool {
        matches!(
            self,
            Operator::Less | Operator::LessOrEqual | Operator::More | Operator::MoreOrEqual
        )
    }
}

type Read = Result<(Node, Kind), Error>;

pub fn formula(text: &str, names: &[&str]) -> Read {
    let mut reader = Reader {
        text,
        words: words(text)?,
        next: 0,
        names,
        locals: Vec::new(),
        elements: Vec::new(),
        nesting: 0,
    };
    let root = reader.expression(0)?;
    match reader.word() {
        Word::End => Ok(root),
        Word::Sign(";") => Err(reader.error("has a `;` that no `let` stands before")),
        _ => Err(reader.error("goes on where it should end")),
    }
}

struct Reader<'a> {
    text: &'a str,
    words: Vec<Placed<'a>>,
    next: usize,
    names: &'a [&'a str],
    /// Names and kinds of the `let`s around, the outermost first.
    locals: Vec<(&'a str, Kind)>,
    /// What `#` is, in the lists around; only the innermost one can be named.
    elements: Vec<Kind>,
    nesting: usize,
}

impl<'a> Reader<'a> {
    fn here(&self) -> Placed<'a> {
        let last = Placed {
            word: Word::End,
            at: self.text.len(),
        };
        self.words.get(self.next).copied().unwrap_or(last)
    }

    fn word(&self) -> Word<'a> {
        self.here().word
    }

    fn error(&self, why: impl Into<String>) -> Error {
        placed(self.text, self.here().at, why)
    }

    fn take(&mut self, sign: &'static str) -> bool {
        let found = matches!(self.word(), Word::Sign(it) | Word::Name(it) if it == sign);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), Error> {
        if self.take(sign) {
            return Ok(());
        }
        Err(match self.word() {
            Word::End => self.error(format!("ends where `{sign}` should stand")),
            _ => self.error(format!("has something else where `{sign}` should stand")),
        })
    }

    /// One level deeper.
    fn within(&mut self, read: impl FnOnce(&mut Self) -> Read) -> Read {
        if self.nesting == NESTING_MAX {
            let why = format!("is nested more than {NESTING_MAX} deep");
            return Err(self.error(why));
        }
        self.nesting += 1;
        let read = read(self)?;
        self.nesting -= 1;
        Ok(read)
    }

    /// As far as operators of at least this precedence go.
    fn expression(&mut self, least: u16) -> Read {
        if least == 0 && self.take("let") {
            return self.within(Self::binding);
        }
        let (mut node, mut kind) = self.operand()?;
        let mut before = None;
        while let Some((operator, precedence)) = Operator::of(self.word()) {
            if precedence < least {
                break;
            }
            if before == Some(Operator::Otherwise) && operator != Operator::Otherwise {
                return Err(self.error(format!(
                    "mixes `??` and `{}`; put one of them into brackets",
                    operator.sign()
                )));
            }
            let sign = self.here().at;
            self.next += 1;
            (node, kind) = if operator.orders() {
                self.ordered(operator, precedence, (node, kind), sign)?
            } else {
                let (right, of_right) = match operator {
                    // 2 ^ 3 ^ 2 is 2 ^ 9.
                    Operator::Power => self.within(|it| it.expression(precedence))?,
                    _ => self.expression(precedence + 1)?,
                };
                let of = Kind::of(operator, &kind, &of_right);
                let of = of.map_err(|why| placed(self.text, sign, why))?;
                (chained(node, operator, right), of)
            };
            before = Some(operator);
        }
        if least == 0 {
            return self.choice((node, kind));
        }
        Ok((node, kind))
    }

    fn ordered(
        &mut self,
        operator: Operator,
        precedence: u16,
        (first, mut of_left): (Node, Kind),
        mut sign: usize,
    ) -> Read {
        let (mut rest, mut operator) = (Vec::new(), operator);
        loop {
            let (right, of_right) = self.expression(precedence + 1)?;
            let sound = Kind::of(operator, &of_left, &of_right);
            sound.map_err(|why| placed(self.text, sign, why))?;
            rest.push((operator, right));
            of_left = of_right;
            match Operator::of(self.word()) {
                Some((next, _)) if next.orders() => operator = next,
                _ => break,
            }
            sign = self.here().at;
            self.next += 1;
        }
        let first = Box::new(first);
        Ok((Node::Ordered { first, rest }, Kind::Bool))
    }

    /// `CONDITION ? ONE : OTHER`
    fn choice(&mut self, (node, kind): (Node, Kind)) -> Read {
        let sign = self.here().at;
        if !self.take("?") {
            return Ok((node, kind));
        }
        if !kind.is_truth() {
            let why = format!("chooses by {kind}; write a condition before `?`");
            return Err(placed(self.text, sign, why));
        }
        let (one, of_one) = self.within(|it| it.expression(0))?;
        self.expect(":")?;
        let (other, of_other) = self.within(|it| it.expression(0))?;
        let kind = Kind::either(&of_one, &of_other);
        self.choice((Node::Choice(Box::new([node, one, other])), kind))
    }

    /// `let NAME = VALUE; BODY`, behind the `let`.
    fn binding(&mut self) -> Read {
        let Word::Name(name) = self.word() else {
            return Err(self.error("has no name behind `let`"));
        };
        let taken = self.names.contains(&name)
            || self.locals.iter().any(|(it, _)| *it == name)
            || word::RESERVED.contains(&name)
            || Function::named(name).is_some();
        if taken {
            return Err(self.error(format!("gives `{name}` another meaning")));
        }
        self.next += 1;
        self.expect("=")?;
        let (value, kind) = self.expression(0)?;
        self.expect(";")?;
        self.locals.push((name, kind));
        let (body, kind) = self.expression(0)?;
        self.locals.pop();
        if self.word() == Word::Sign(";") {
            return Err(self.error("has one `;` too many"));
        }
        Ok((Node::Let(Box::new([value, body])), kind))
    }

    /// One thing, with what stands before it.
    fn operand(&mut self) -> Read {
        let at = self.here().at;
        if self.take("!") || self.take("not") {
            let (node, kind) = self.within(|it| it.expression(NOT))?;
            if !kind.is_truth() {
                return Err(placed(self.text, at, format!("has `not` before {kind}")));
            }
            return Ok((Node::Not(Box::new(node)), Kind::Bool));
        }
        let negative = self.take("-");
        if negative || self.take("+") {
            let (node, kind) = self.within(|it| it.expression(SIGN))?;
            if !kind.is_number() {
                return Err(placed(self.text, at, format!("has a sign before {kind}")));
            }
            let node = if negative {
                Node::Negative(Box::new(node))
            } else {
                node
            };
            return Ok((node, kind));
        }
        if self.take("(") {
            let read = self.within(|it| it.expression(0))?;
            self.expect(")")?;
            return Ok(read);
        }
        if self.take("[") {
            return self.within(Self::list);
        }
        if self.take("#") {
            return match self.elements.last() {
                Some(kind) => Ok((Node::Element, kind.clone())),
                None => Err(placed(
                    self.text,
                    at,
                    "has `#` outside of a list's function",
                )),
            };
        }
        let word = self.word();
        self.next += 1;
        match word {
            Word::Int(n) => Ok((Node::Literal(Value::Int(n)), Kind::Int)),
            Word::Float(n) => Ok((Node::Literal(Value::Float(n)), Kind::Float)),
            Word::Name("true") => Ok((Node::Literal(Value::Bool(true)), Kind::Bool)),
            Word::Name("false") => Ok((Node::Literal(Value::Bool(false)), Kind::Bool)),
            Word::Name("nil") => Ok((Node::Literal(Value::Nil), Kind::Nil)),
            Word::Name(name) => self.named(name, at),
            Word::Sign(sign) => {
                let why = format!("has `{sign}` where a number or a name should stand");
                Err(placed(self.text, at, why))
            }
            Word::End => Err(placed(self.text, at, "ends where something should follow")),
        }
    }

    fn named(&mut self, name: &'a str, at: usize) -> Read {
        if self.take("(") {
            let Some(function) = Function::named(name) else {
                let why = format!(
                    "calls `{name}`, which this version doesn't know; it knows {}",
                    Function::names()
                );
                return Err(placed(self.text, at, why));
            };
            return self.within(|it| it.call(function, at));
        }
        if let Some(index) = self.locals.iter().rposition(|(it, _)| *it == name) {
            return Ok((Node::Local(index), self.locals[index].1.clone()));
        }
        if let Some(index) = self.names.iter().position(|it| *it == name) {
            return Ok((Node::Trigger(index), Kind::Float));
        }
        let known = if self.names.is_empty() {
            "none has a name that a formula can use: letters, digits and `_`".to_owned()
        } else {
            format!("there are {}", self.names.join(", "))
        };
        let why = format!("names `{name}`, which is no trigger that is asked; {known}");
        Err(placed(self.text, at, why))
    }

    /// Behind the bracket.
    fn list(&mut self) -> Read {
        let mut items = Vec::new();
        let mut kind: Option<Kind> = None;
        while !self.take("]") {
            if !items.is_empty() {
                self.expect(",")?;
                if self.take("]") {
                    break;
                }
            }
            let (item, of_item) = self.expression(0)?;
            items.push(item);
            kind = Some(match kind {
                None => of_item,
                Some(kind) if kind == of_item => kind,
                Some(_) => Kind::Any,
            });
        }
        let kind = kind.unwrap_or(Kind::Any);
        Ok((Node::List(items), Kind::List(Box::new(kind))))
    }

    /// Behind the bracket.
    fn call(&mut self, function: Function, at: usize) -> Read {
        let (mut arguments, mut kinds) = (Vec::new(), Vec::new());
        let mut each = None;
        while !self.take(")") {
            if !arguments.is_empty() {
                self.expect(",")?;
            }
            if arguments.len() == 1 && function.predicate() != Predicate::Never {
                each = Some(self.predicate(&kinds[0])?);
                self.expect(")")?;
                break;
            }
            let (argument, kind) = self.expression(0)?;
            arguments.push(argument);
            kinds.push(kind);
        }
        if each.is_none() && function.predicate() == Predicate::Needed {
            let why = format!("lacks what {} is to look at: {{# > 1}}", function.name());
            return Err(placed(self.text, at, why));
        }
        let kind = function.kind(&kinds, each.as_ref().map(|(_, kind)| kind));
        let kind = kind.map_err(|why| placed(self.text, at, why))?;
        let node = match each {
            None => Node::Call(function, arguments),
            Some((each, _)) => match arguments.pop() {
                Some(list) => Node::Each(function, Box::new([list, each])),
                // There is one before each predicate.
                None => return Err(placed(self.text, at, "lacks a list")),
            },
        };
        Ok((node, kind))
    }

    /// `{# > 1}`, or the same without its brackets.
    fn predicate(&mut self, list: &Kind) -> Read {
        let braces = self.take("{");
        self.elements.push(list.element());
        let read = self.expression(0)?;
        self.elements.pop();
        if braces {
            self.expect("}")?;
        }
        Ok(read)
    }
}

fn chained(node: Node, operator: Operator, right: Node) -> Node {
    match node {
        Node::Chain { first, mut rest } => {
            rest.push((operator, right));
            Node::Chain { first, rest }
        }
        first => Node::Chain {
            first: Box::new(first),
            rest: vec![(operator, right)],
        },
    }
}
