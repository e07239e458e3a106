"""What holds weights near those that training begins with, found when it begins."""
